//! What the demo puts in its config file and on the terminal.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::replica::ZONES;

/// A replica by name, place and address.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    pub(super) name: String,
    pub(super) cluster: &'static str,
    pub(super) zone: &'static str,
    pub(super) address: SocketAddr,
}

/// Everything there is, with its addresses.
pub(super) struct Scene {
    /// How this program is called on a command line.
    pub(super) program: String,
    pub(super) listen: SocketAddr,
    pub(super) admin: SocketAddr,
    /// The control endpoint of the replicas.
    pub(super) control: SocketAddr,
    pub(super) config: PathBuf,
    pub(super) replicas: Vec<Replica>,
}

/// The demo probes faster than the defaults would, so that there is something to see.
const HEALTH_CHECKS: &str = "    health_checks:
      - timeout: 500ms
        interval: 1s
        down_interval: 1s
        unhealthy_threshold: 3
        healthy_threshold: 2
        http_health_check:
          path: /healthz
          expected_statuses: [200]
";

impl Scene {
    /// The config file.
    pub(super) fn yaml(&self) -> String {
        let Self { listen, admin, .. } = self;
        let mut text = format!(
            "# Weir's demo. Edit this file and save it: the change is taken at once, or refused with a reason.\n\
             # Try the canary's weight, another balance (least_request, random), or a typing mistake.\n\
             admin: {admin}\n\
             zone: az-a\n\
             \n\
             listeners:\n\
             \x20 - name: web\n\
             \x20   bind: {listen}\n\
             \x20   protocol: http\n\
             \x20   release: shop\n\
             \n\
             releases:\n\
             \x20 - name: shop\n\
             \x20   key: {{header: x-user-id}}\n\
             \x20   salt: shop-2026-11\n\
             \x20   stable: shop-v1\n\
             \x20   canaries:\n\
             \x20     - cluster: shop-v2\n\
             \x20       first: [{{header: {{x-employee: \"true\"}}}}]\n\
             \x20       weight: 20    # per cent of the users\n\
             \n\
             clusters:\n"
        );
        for cluster in ["shop-v1", "shop-v2"] {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  - name: {cluster}\n    balance: round_robin\n    endpoints:");
            for zone in ZONES {
                let here = self.replicas.iter().filter(|replica| replica.cluster == cluster && replica.zone == zone);
                let addresses: Vec<String> = here.map(|replica| format!("\"{}\"", replica.address)).collect();
                let _ = writeln!(text, "      {zone}: [{}]", addresses.join(", "));
            }
            text.push_str(HEALTH_CHECKS);
        }
        text
    }

    /// What is printed at the start.
    pub(super) fn welcome(&self) -> String {
        let Self { program, listen, admin, control, config, replicas } = self;
        let config = config.display();
        let mut text = format!(
            "Weir's demo: shop-v1 (two replicas in each of three zones), shop-v2 (one in each), 50 requests a second.\n\
             One user in five is on shop-v2, by hash of the user id: release shop in the config.\n\n\
             \x20 traffic  http://{listen}\n\
             \x20 admin    http://{admin}\n\
             \x20 breaker  http://{control}\n\
             \x20 config   {config}\n\n"
        );
        for Replica { name, zone, address, .. } in replicas {
            let _ = writeln!(text, "  {name:<10} {zone}  {address}");
        }
        let _ = write!(
            text,
            "\nTry, in another terminal:\n\
             \x20 curl -H 'x-user-id: 42' http://{listen}/cart               # always the same version for a user\n\
             \x20 curl -H 'x-employee: true' http://{listen}/cart            # employees see shop-v2\n\
             \x20 {program} explain --admin {admin} --user 42 GET http://shop.example/cart\n\
             \x20 {program} release set --admin {admin} shop shop-v2=50       # who moves, and then they do\n\
             \x20 curl -X POST 'http://{control}/fail?cluster=shop-v2&percent=10'\n\
             \x20 {program} release status --admin {admin}                   # v1 against v2\n\
             \x20 {program} status --admin {admin}\n\
             \x20 {program} events --follow --admin {admin}\n\
             \x20 curl http://{admin}/metrics\n\
             \x20 curl -X POST 'http://{control}/kill?replica=shop-v1-1'      # out after three failing probes\n\
             \x20 curl -X POST 'http://{control}/kill?zone=az-b'              # the other zones carry on\n\
             \x20 curl -X POST 'http://{control}/slow?replica=shop-v1-3&ms=500'\n\
             \x20 curl -X POST 'http://{control}/revive'                      # all well again\n\
             \x20 $EDITOR {config}\n\n\
             Ctrl-C ends it. Should requests fail, a line here will say so.\n\n"
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> Scene {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut replicas = Vec::new();
        for (n, zone) in ZONES.into_iter().enumerate() {
            for cluster in ["shop-v1", "shop-v2"] {
                let port = 4000 + replicas.len() as u16;
                replicas.push(Replica { name: format!("{cluster}-{}", n + 1), cluster, zone, address: address(port) });
            }
        }
        Scene {
            program: "weir".into(),
            listen: address(8080),
            admin: address(9900),
            control: address(9901),
            config: "/tmp/weir.yaml".into(),
            replicas,
        }
    }

    #[test]
    fn the_config_is_one() {
        let yaml = scene().yaml();
        let parsed = weir_config::parse_str(&yaml).unwrap_or_else(|mistakes| panic!("{mistakes:?}\n{yaml}"));
        assert_eq!(parsed.warnings.iter().count(), 0, "{:?}", parsed.warnings);
        let config = parsed.config;
        assert_eq!(config.clusters.len(), 2);
        assert_eq!(config.clusters[0].endpoints.len(), 3);
    }

    #[test]
    fn the_welcome_names_every_address() {
        let text = scene().welcome();
        for word in ["127.0.0.1:8080", "127.0.0.1:9900", "127.0.0.1:9901", "/tmp/weir.yaml", "127.0.0.1:4005"] {
            assert!(text.contains(word), "{word} in {text}");
        }
    }
}
