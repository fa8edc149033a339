//! One address before several instances, by the files of `deploy/` as they stand: a pair with
//! keepalived, and hosts that announce the address to a router with bird. Hosts are network
//! namespaces; what is replaced in the files is the path of the binary and the script's user.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use weir_integration_tests::backend::{Backend, ok};
use weir_integration_tests::client::RawClient;
use weir_integration_tests::segment::{Host, Segment};
use weir_integration_tests::wait;
use weir_integration_tests::weir::binary;

/// What a file of `deploy/` says, with the binary under test in place of the installed one.
fn deployed(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.replace("/usr/bin/weir", &binary().display().to_string())
}

/// A process on a host. Killed when dropped; if the test is failing, what it said is printed.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(command: &mut Command, log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().expect("it starts");
        Self { child, log }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it takes signals");
    }

    /// Ends it in the orderly way.
    fn end(&mut self) {
        self.signal(Signal::TERM);
        wait::until("its end", || self.child.try_wait().expect("a child can be asked"));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            // keepalived and the script clean up after themselves if they are asked.
            self.signal(Signal::TERM);
            let patience = Instant::now() + Duration::from_secs(2);
            while self.child.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < patience {
                thread::sleep(Duration::from_millis(10));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("--- {}:\n{}", self.log.display(), fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// A host with a Weir.
struct Node {
    name: &'static str,
    // Before the host, which must go last.
    weir: Option<Running>,
    host: Host,
    directory: TempDir,
}

impl Node {
    fn new(segment: &mut Segment, name: &'static str, address: &str, endpoint: SocketAddr) -> Self {
        let mut node = Self { name, weir: None, host: segment.host(address), directory: tempfile::tempdir().unwrap() };
        // Longer than the address needs to move.
        let config = format!(
            "shutdown: {{delay: 8s, timeout: 10s}}\nlisteners: [{{name: web, bind: '0.0.0.0:80', cluster: main}}]\n\
             clusters: [{{name: main, endpoints: ['{endpoint}']}}]\n"
        );
        node.file("weir.yaml", &config);
        node.run_weir();
        node
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{}-{name}.log", self.name))
    }

    fn run_weir(&mut self) {
        let binary = binary();
        let mut command = self.host.command(binary.to_str().unwrap());
        command.arg("run").arg(self.directory.path().join("weir.yaml")).env("WEIR_LOG_FORMAT", "json");
        self.weir = Some(Running::start(&mut command, self.log("weir")));
    }

    fn kill_weir(&mut self) {
        let mut weir = self.weir.take().expect("it runs");
        let _ = weir.child.kill();
        let _ = weir.child.wait();
    }

    fn has(&self, address: &str) -> bool {
        self.host.ask_ip(&format!("-o addr show to {address}")).contains(address)
    }
}

/// What a client saw of one request.
struct Seen {
    at: Instant,
    good: bool,
}

/// Somebody who asks again and again, each time on a new connection.
struct Client {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Seen>>,
}

impl Client {
    fn start(from: &Host, to: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = from.act(move || {
            let mut seen = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                let at = Instant::now();
                // What any client does with a GET: once more, if the connection broke.
                let good = ask(to, SOON) || ask(to, SOON * 4);
                seen.push(Seen { at, good });
                thread::sleep(Duration::from_millis(10));
            }
            seen
        });
        Self { stop, thread }
    }

    /// All requests, those without an answer, and the longest time from one answer to the next.
    fn finish(self) -> (usize, usize, Duration) {
        self.stop.store(true, Ordering::SeqCst);
        let seen = self.thread.join().expect("a client does not panic");
        let good: Vec<Instant> = seen.iter().filter(|seen| seen.good).map(|seen| seen.at).collect();
        let gap = good.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        (seen.len(), seen.len() - good.len(), gap)
    }
}

/// How long a client that has another try waits for a connection.
const SOON: Duration = Duration::from_millis(300);

/// One request; whether it was answered with 200 within a few times `patience`.
fn ask(to: SocketAddr, patience: Duration) -> bool {
    if TcpStream::connect_timeout(&to, patience).is_err() {
        return false;
    }
    let Ok(mut client) = RawClient::try_connect(to) else { return false };
    client.patience(patience * 3);
    let request = "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    client.try_send(request).is_ok() && client.response().is_ok_and(|answer| answer.status == 200)
}

/// Requests that come while `act` happens.
fn meanwhile(client: &Host, to: SocketAddr, act: impl FnOnce()) -> (usize, usize, Duration) {
    let load = Client::start(client, to);
    thread::sleep(Duration::from_millis(200));
    act();
    // What follows a move shows as well.
    thread::sleep(Duration::from_millis(300));
    load.finish()
}

/// The switch with the endpoint on it, and two hosts.
fn world() -> (Segment, Backend, [Node; 2]) {
    let mut segment = Segment::new();
    let endpoint = segment.switch().listen("192.0.2.1:8081".parse().unwrap());
    let endpoint = Backend::raw_on(endpoint, |peer| {
        while peer.request().is_ok() {
            peer.send(ok("ok\n"));
        }
    });
    let to = endpoint.address();
    let a = Node::new(&mut segment, "lb-a", "192.0.2.11/24", to);
    let b = Node::new(&mut segment, "lb-b", "192.0.2.12/24", to);
    (segment, endpoint, [a, b])
}

#[test]
fn a_pair_hands_its_address_over() {
    let (segment, _endpoint, mut nodes) = world();
    let vip = "192.0.2.10";
    let web = SocketAddr::new(vip.parse::<IpAddr>().unwrap(), 80);
    // A script in a build directory is nobody's idea of a safe one.
    let config = deployed("keepalived/keepalived.conf")
        .replace("script_user nobody", "script_user root")
        .replace("    enable_script_security\n", "");
    assert!(config.contains(vip) && !config.contains("enable_script_security"));
    let _keepalived = nodes.each_ref().map(|node| {
        let path = node.file("keepalived.conf", &config).display().to_string();
        let pid = |name: &str| node.directory.path().join(name).display().to_string();
        let mut command = node.host.command("keepalived");
        command.args(["--vrrp", "--dont-fork", "--log-console", "--log-detail", "--config-id", node.name]);
        command.args(["--use-file", &path, "--pid", &pid("pid"), "--vrrp_pid", &pid("vrrp-pid")]);
        Running::start(&mut command, node.log("keepalived"))
    });
    // Who was ready first has it.
    let holder = |nodes: &[Node; 2]| match nodes.each_ref().map(|node| node.has(vip)) {
        [true, false] => Some(0),
        [false, true] => Some(1),
        _ => None,
    };
    let mut old = wait::until("one host, and one alone, to have the address", || holder(&nodes));
    wait::until_true("an answer", || {
        segment.switch().act(move || ask(web, SOON)).join().expect("a client does not panic")
    });

    // Killed: the other has it in a second. (Up to three tries: this machine may be busy elsewhere.)
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let new = 1 - old;
        let (requests, failed, gap) = meanwhile(segment.switch(), web, || {
            nodes[old].kill_weir();
            wait::until_true("the other host to have the address", || holder(&nodes) == Some(new));
        });
        println!("SIGKILL: {failed} of {requests} requests failed, {gap:.2?} without an answer");
        best = best.min(gap);
        // Who comes back does not take it back, and nobody notices.
        nodes[old].run_weir();
        let (_, failed, _) = meanwhile(segment.switch(), web, || thread::sleep(Duration::from_secs(3)));
        assert_eq!(failed, 0, "an instance came back, and clients noticed");
        assert_eq!(holder(&nodes), Some(new), "the address moved back");
        old = new;
        if best < Duration::from_secs(2) {
            break;
        }
    }
    assert!(best < Duration::from_secs(2), "{best:?} without an answer");

    // Drained: the address is gone before the listeners are.
    let (requests, failed, gap) = meanwhile(segment.switch(), web, || {
        nodes[old].weir.as_mut().expect("it runs").end();
        assert_eq!(holder(&nodes), Some(1 - old), "it ended before the address had moved");
    });
    println!("drain: {failed} of {requests} requests failed, {gap:.2?} between two answers");
    assert_eq!(failed, 0, "of {requests} while the instance with the address was drained");
}

#[test]
fn an_address_is_announced_while_the_instance_is_ready() {
    let (segment, _endpoint, mut nodes) = world();
    let vip = "198.51.100.10";
    let web = SocketAddr::new(vip.parse::<IpAddr>().unwrap(), 80);
    let directory = tempfile::tempdir().unwrap();
    let bird = |host: &Host, config: String, directory: &Path, log: PathBuf| {
        let path = directory.join("bird.conf");
        fs::write(&path, config.replace("log syslog all;", "log stderr all;")).unwrap();
        let mut command = host.command("bird");
        command.arg("-f").arg("-c").arg(&path).arg("-s").arg(directory.join("bird.ctl"));
        Running::start(&mut command, log)
    };
    let mut router = segment.switch().command("sh");
    let multipath = router.args(["-c", "echo 1 > /proc/sys/net/ipv4/fib_multipath_hash_policy"]).status();
    assert!(multipath.expect("a shell").success());
    let _router =
        bird(segment.switch(), deployed("bird/router.conf"), directory.path(), directory.path().join("router.log"));
    let mut running = Vec::new();
    for node in &nodes {
        node.host.ip(&format!("addr add {vip}/32 dev lo"));
        let own = deployed("bird/bird.conf")
            .replace("router id 192.0.2.11;", &format!("router id 192.0.2.1{};", 1 + u8::from(node.name == "lb-b")));
        running.push(bird(&node.host, own, node.directory.path(), node.log("bird")));
        let control = node.directory.path().join("bird.ctl");
        let script = deployed("bird/weir-announce").replace("birdc ", &format!("birdc -s {} ", control.display()));
        let script = node.file("weir-announce", &script);
        let mut command = node.host.command("sh");
        running.push(Running::start(command.arg(script), node.log("announce")));
    }
    let hops = || {
        let route = segment.switch().ask_ip(&format!("route show {vip}"));
        ["192.0.2.11", "192.0.2.12"].map(|hop| route.contains(hop))
    };
    wait::until_true("a route over both", || hops() == [true, true]);

    let (requests, failed, gap) = meanwhile(segment.switch(), web, || {
        nodes[0].kill_weir();
        wait::until_true("a route over the other", || hops() == [false, true]);
    });
    println!("SIGKILL: {failed} of {requests} requests failed, {gap:.2?} between two answers");
    nodes[0].run_weir();
    wait::until_true("a route over both again", || hops() == [true, true]);

    let (requests, failed, _) = meanwhile(segment.switch(), web, || {
        nodes[1].weir.as_mut().expect("it runs").end();
        assert_eq!(hops(), [true, false], "it ended before its route did");
    });
    assert_eq!(failed, 0, "of {requests} while an instance was drained");
}
