//! Clients over Unix sockets.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use weir_integration_tests::backend::Backend;
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

use crate::tcp::Peer;

fn yaml(binds: &str, rest: &str, endpoint: std::net::SocketAddr) -> String {
    format!(
        "workers: 2\nlisteners: [{{name: web, bind: [{binds}]{rest}, cluster: main}}]\n\
         clusters: [{{name: main, endpoints: ['{endpoint}']}}]\n"
    )
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    stream
}

/// The answer to one request on this connection, whose body is `ok`.
fn ask(stream: &mut UnixStream) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let (mut heard, mut piece) = (String::new(), [0; 1024]);
    while !heard.ends_with("\r\n\r\nok") {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "{heard:?}");
        heard.push_str(std::str::from_utf8(&piece[..count]).unwrap());
    }
    heard
}

#[test]
fn a_socket_comes_and_goes_with_the_configuration() {
    let backend = Backend::text("ok");
    let (web, directory) = (place::address(), tempfile::tempdir().unwrap());
    let path = directory.path().join("web.sock");
    let both = format!("'{web}', 'unix:{}'", path.display());
    let with = yaml(&both, "", backend.address());
    let without = yaml(&format!("'{web}'"), "", backend.address());
    let mut weir = Weir::start(&with);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    let mut kept = connect(&path);
    assert!(ask(&mut kept).starts_with("HTTP/1.1 200"));
    assert_eq!(backend.requests()[0].fields.get("x-forwarded-for"), Some("127.0.0.1"));
    for _ in 0..50 {
        ask(&mut connect(&path));
    }
    let status = weir.json("/api/v1/status");
    assert_eq!(status["listeners"][0]["addresses"][1]["bound"], format!("unix:{}", path.display()));

    // It stays where the configuration has it, and goes where it does not.
    weir.replace(&with.replace("name: main,", "name: main, connect: {timeout: 2s},"));
    let _ = weir.wait_event("config_applied", 1);
    assert!(ask(&mut kept).starts_with("HTTP/1.1 200"));
    weir.replace(&without);
    let _ = weir.wait_event("config_applied", 2);
    wait::until_true("the file is gone", || !path.exists());
    weir.replace(&with);
    let _ = weir.wait_event("config_applied", 3);
    ask(&mut connect(&path));
    weir.signal(Signal::TERM);
    assert_eq!(weir.exit_code(wait::PATIENCE), 0);
    assert!(!path.exists());
}

#[test]
fn what_was_left_behind_is_replaced_and_what_is_in_use_is_not() {
    let backend = Backend::text("ok");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.sock");
    let config = yaml(&format!("'unix:{}'", path.display()), "", backend.address());
    let first = Weir::start(&config);
    let mut second = Weir::spawn(&config);
    assert_eq!(second.exit_code(wait::PATIENCE), 1);
    assert!(second.stderr().contains("another process takes connections there"), "{}", second.stderr());
    ask(&mut connect(&path));
    // Killed, it leaves its file.
    drop(first);
    assert!(path.exists());
    let _third = Weir::start(&config);
    ask(&mut connect(&path));

    fs::write(directory.path().join("file"), "precious").unwrap();
    let config = yaml(&format!("'unix:{}/file'", directory.path().display()), "", backend.address());
    let mut fourth = Weir::spawn(&config);
    assert_eq!(fourth.exit_code(wait::PATIENCE), 1);
    assert_eq!(fs::read_to_string(directory.path().join("file")).unwrap(), "precious");
}

#[test]
fn a_session_over_one_ends_as_it_should() {
    let peer = Peer::echo("hi");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db.sock");
    let rest = ", protocol: tcp, limits: {connections_per_client: 1}";
    let _weir = Weir::start(&yaml(&format!("'unix:{}'", path.display()), rest, peer.address));
    let mut client = connect(&path);
    client.write_all(&vec![7; 1 << 20]).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    assert_eq!((heard.len(), &heard[..2]), ((1 << 20) + 2, b"hi".as_slice()));
    // All of this host count as one.
    let one = wait::within(Duration::from_secs(5), "the first is forgotten", || {
        let mut one = connect(&path);
        one.read_exact(&mut [0; 2]).is_ok().then_some(one)
    });
    assert!(connect(&path).read_exact(&mut [0; 2]).is_err());
    drop(one);
}
