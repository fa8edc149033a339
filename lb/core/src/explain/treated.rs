//! What is done to a request on its way: kept out, limited, answered by its route, rewritten.

use std::net::IpAddr;

use weir_config::model::{PathRewrite, Reply, Target};

use crate::rate::Limiter;
use crate::reason::Reason;
use crate::release::Asked;
use crate::rewrite;
use crate::snapshot::Listener;
use crate::time::Moment;

/// What is done to a request on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Treated {
    /// What its route answers itself, if it does: the status, and where a redirect sends to.
    pub reply: Option<(u16, Option<String>)>,
    /// The path, with query, that endpoints see, if it is another.
    pub target: Option<String>,
    /// The host that endpoints see, if it is another.
    pub host: Option<String>,
    /// The rate limits it has to pass, the listener's first.
    pub limits: Vec<Limit>,
}

/// A rate limit that a request has to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// It is the route's, not the listener's.
    pub of_route: bool,
    /// Requests that would be taken now; none is, for being explained.
    pub left: u64,
}

/// A request, as far as it decides on that.
#[derive(Clone, Copy)]
pub struct Asks<'a> {
    /// What routes look at.
    pub asked: &'a Asked<'a>,
    /// Whether it comes over TLS, to us or to a proxy that is believed.
    pub secure: bool,
    /// The port it names with its host.
    pub port: Option<u16>,
    /// When.
    pub now: Moment,
}

impl Treated {
    /// What is done to a request that the route at `route` takes.
    #[must_use]
    pub fn of(listener: &Listener, route: Option<usize>, asks: &Asks<'_>) -> Self {
        let left = |of_route, limiter: Option<&Limiter>| {
            let left = limiter?.left(asks.asked.client, asks.asked.view.headers, asks.now);
            Some(Limit { of_route, left })
        };
        let mut treated = Self::default();
        treated.limits.extend(left(false, listener.limit.as_deref()));
        let Some((route, target)) = route.and_then(|at| listener.config.routes.get(at).zip(listener.targets.get(at)))
        else {
            return treated;
        };
        treated.limits.extend(left(true, target.limit.as_deref()));
        let Asked { view, query, .. } = asks.asked;
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        match &route.target {
            Target::Reply(Reply::Fixed(fixed)) => treated.reply = Some((fixed.status, None)),
            Target::Reply(Reply::Redirect(redirect)) => {
                let asked = rewrite::Asked {
                    secure: asks.secure,
                    method: view.method,
                    host: view.host,
                    port: asks.port,
                    path: view.path,
                    query: &query,
                };
                let sent = rewrite::redirect(redirect, &route.matches.path, &asked);
                treated.reply = sent.map(|(status, location)| (status, Some(location)));
            }
            Target::Cluster(_) | Target::Release(_) => {
                if route.rewrite.path != PathRewrite::Keep {
                    let path = rewrite::path(&route.rewrite.path, &route.matches.path, view.path);
                    treated.target = Some(format!("{}{}{query}", path.before, path.after));
                }
                treated.host.clone_from(&route.rewrite.host);
            }
        }
        treated
    }
}

/// Why a request is not let in, if it is not.
pub(super) fn kept_out(listener: &Listener, route: Option<usize>, client: IpAddr) -> Option<Reason> {
    let target = route.and_then(|at| listener.targets.get(at));
    let let_in = listener.access.admits(client) && target.is_none_or(|target| target.access.admits(client));
    (!let_in).then_some(Reason::AccessDenied)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::balance::Cursors;
    use crate::control::{Control, Event};
    use crate::dice::Dice;
    use crate::explain::{Asking, Explanation, explain};
    use crate::route::{Headers, RequestView};

    use super::*;

    const CONFIG: &str = "\
listeners:
  - name: web
    bind: '127.0.0.1:80'
    deny: [192.0.2.0/24]
    rate_limit: {requests: 2}
    routes:
      - {match: {path_prefix: /old}, redirect: {path_prefix: /new}}
      - {match: {path_prefix: /no}, respond: {status: 410}}
      - {match: {path_prefix: /in}, cluster: a, allow: [10.0.0.0/8]}
      - {match: {path_prefix: /api}, cluster: a, rewrite: {path_prefix: /, host: b}, rate_limit: {requests: 7}}
      - {cluster: a}
clusters: [{name: a, endpoints: ['127.0.0.1:1']}]
";

    struct Host;

    impl Headers for Host {
        fn get(&self, name: &str) -> Option<&[u8]> {
            (name == "host").then_some(b"a.example:81")
        }
    }

    fn way(path: &str, client: &str) -> Explanation {
        let mut control = Control::new(1, Dice::new(1));
        let config = Arc::new(weir_config::parse_str(CONFIG).unwrap().config);
        control.step(Moment::ZERO, Event::Configured(config), &mut Vec::new());
        let snapshot = control.publish(Moment::ZERO).unwrap();
        let view = RequestView { method: "GET", host: "a.example", path, headers: &Host };
        let asking = Asking {
            listener: 0,
            asked: Asked { view, query: Some("q"), client: client.parse().unwrap() },
            at_weights: &[],
            cursors: &Cursors::new(),
            dice: Dice::new(1),
            worker: 0,
            now: Moment::ZERO,
            secure: false,
        };
        explain(&snapshot, &asking).unwrap()
    }

    #[test]
    fn what_is_done_on_the_way_is_told() {
        let limits = |way: &Explanation| way.treated.limits.iter().map(|limit| limit.left).collect::<Vec<_>>();
        let moved = way("/old/x", "10.0.0.1");
        assert_eq!(moved.treated.reply, Some((301, Some("http://a.example:81/new/x?q".into()))));
        assert_eq!((moved.cluster, moved.refused, limits(&moved)), (None, None, vec![2]));
        assert_eq!(way("/no", "10.0.0.1").treated.reply, Some((410, None)));
        let api = way("/api/x", "10.0.0.1");
        assert_eq!((api.treated.target.as_deref(), api.treated.host.as_deref()), (Some("/x?q"), Some("b")));
        assert_eq!((api.cluster, limits(&api)), (Some(0), vec![2, 7]));
        let plain = way("/", "10.0.0.1");
        assert_eq!((plain.treated.target, plain.treated.reply, plain.refused), (None, None, None));
        for (path, client) in [("/in", "203.0.113.1"), ("/", "192.0.2.1")] {
            let refused = way(path, client);
            assert_eq!((refused.refused, refused.cluster), (Some(Reason::AccessDenied), None));
        }
    }
}
