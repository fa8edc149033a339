//! Handshakes between an acceptor and a connector, over pipes.

use std::sync::OnceLock;

use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use weir_config::model::{Address, ClientTls, HttpVersion, TicketKeys, TlsVersion, Trust};
use weir_core::tls::Untrusted;

use super::super::connector::{Connector, Distrust, Use};
use super::super::testing::{Authority, certificate, server};
use super::*;

fn client(trust: Trust, change: impl FnOnce(&mut ClientTls)) -> Arc<Connector> {
    let mut wanted = ClientTls { server_name: None, trust, certificate: None, min_version: TlsVersion::V12 };
    change(&mut wanted);
    Connector::new(&wanted, HttpVersion::H1, &OnceLock::new(), None).unwrap()
}

fn acceptor(wanted: &ServerTls) -> Arc<Acceptor> {
    Acceptor::new(wanted, None).unwrap()
}

type Ends = (Result<Accepted<DuplexStream>, Refusal<DuplexStream>>, Result<(), Distrust>);

/// Both ends of a handshake; the client reads until the server's tickets are there.
async fn shake(acceptor: &Acceptor, connector: &Connector, host: &str) -> Ends {
    let (ours, theirs) = duplex(1 << 16);
    let to = Address::Ip(([10, 0, 0, 1], 443).into());
    let client = async {
        let mut stream = connector.connect(theirs, &to, Some(host), Use::Http).await?;
        let mut byte = [0];
        let _ = stream.read(&mut byte).await;
        Ok(())
    };
    let server = async {
        let mut accepted = acceptor.accept(ours, b"").await;
        if let Ok(accepted) = &mut accepted {
            accepted.stream.write_all(b"!").await.unwrap();
            accepted.stream.flush().await.unwrap();
        }
        accepted
    };
    tokio::join!(server, client)
}

async fn handshake(acceptor: &Acceptor, connector: &Connector) -> Handshake {
    let (accepted, connected) = shake(acceptor, connector, "a.example").await;
    connected.unwrap();
    accepted.unwrap().handshake
}

#[tokio::test]
async fn both_sides_agree() {
    let authority = Authority::new();
    let wanted = server(vec![authority.issue(&["a.example"]), authority.issue(&["b.example"])]);
    let connector = client(Trust::Authorities(authority.authorities()), |_| {});
    let (accepted, connected) = shake(&acceptor(&wanted), &connector, "b.example").await;
    connected.unwrap();
    let Accepted { secure, handshake, .. } = accepted.unwrap();
    assert_eq!(handshake, Handshake::Full13);
    assert_eq!(secure.server_name.as_deref(), Some("b.example"));
    assert_eq!((secure.version, secure.h2, &secure.certificate), ("TLSv1.3", false, &None));
    assert!(secure.cipher.starts_with("TLS_"), "{}", secure.cipher);
}

#[tokio::test]
async fn endpoints_are_verified() {
    let (authority, other) = (Authority::new(), Authority::new());
    let acceptor = acceptor(&server(vec![authority.issue(&["a.example"])]));
    let trusted = Trust::Authorities(authority.authorities());
    for (trust, host, expected) in [
        (trusted.clone(), "a.example", None),
        (trusted.clone(), "b.example", Some(Untrusted::NameMismatch)),
        (Trust::Authorities(other.authorities()), "a.example", Some(Untrusted::UnknownAuthority)),
        (Trust::Anybody, "b.example", None),
    ] {
        let (accepted, connected) = shake(&acceptor, &client(trust, |_| {}), host).await;
        assert_eq!(connected.err().map(|distrust| distrust.why), expected, "{host}");
        assert_eq!(accepted.err().map(|refusal| refusal.why), expected.map(|_| Unshaken::Refused));
    }
    let named = client(trusted, |wanted| wanted.server_name = Some("a.example".into()));
    assert!(shake(&acceptor, &named, "10.0.0.1").await.1.is_ok(), "the name of the file goes before");
}

#[tokio::test]
async fn clients_show_their_certificate() {
    let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let trust = || Trust::Authorities(authority.authorities());
    let asked = |required, forward| ServerTls {
        clients: Some(ClientCertificates { required, authorities: clients.authorities(), forward }),
        ..server(vec![authority.issue(&["a.example"])])
    };
    let none = client(trust(), |_| {});
    let good = client(trust(), |wanted| wanted.certificate = Some(clients.issue(&["me.example"])));
    let strange = client(trust(), |wanted| wanted.certificate = Some(strangers.issue(&["me.example"])));
    let why = async |required, connector: &Connector| {
        let (accepted, _) = shake(&acceptor(&asked(required, true)), connector, "a.example").await;
        accepted.map(|accepted| accepted.secure.certificate.is_some()).map_err(|refusal| refusal.why)
    };
    assert_eq!(why(true, &good).await, Ok(true));
    assert_eq!(why(true, &none).await, Err(Unshaken::NoCertificate));
    assert_eq!(why(true, &strange).await, Err(Unshaken::BadCertificate));
    assert_eq!(why(false, &good).await, Ok(true));
    assert_eq!(why(false, &none).await, Ok(false));
    assert_eq!(why(false, &strange).await, Err(Unshaken::BadCertificate), "worse than none");
    let (accepted, _) = shake(&acceptor(&asked(true, false)), &good, "a.example").await;
    assert_eq!(accepted.unwrap().secure.certificate, None, "not to be told");
}

#[tokio::test]
async fn sessions_survive_what_does_not_concern_them() {
    let authority = Authority::new();
    let connector = client(Trust::Authorities(authority.authorities()), |_| {});
    let wanted = server(vec![authority.issue(&["a.example"])]);
    let first = acceptor(&wanted);
    assert!(Arc::ptr_eq(&first, &Acceptor::new(&wanted, Some(&first)).unwrap()));
    assert_eq!(handshake(&first, &connector).await, Handshake::Full13);
    assert_eq!(handshake(&first, &connector).await, Handshake::Resumed13);
    let renewed = ServerTls { certificates: vec![authority.issue(&["a.example"])], ..wanted.clone() };
    let second = Acceptor::new(&renewed, Some(&first)).unwrap();
    assert_eq!(handshake(&second, &connector).await, Handshake::Resumed13, "over a change of certificate");
    let clients = ClientCertificates { required: false, authorities: authority.authorities(), forward: true };
    let asking = Acceptor::new(&ServerTls { clients: Some(clients), ..renewed.clone() }, Some(&second)).unwrap();
    assert_eq!(handshake(&asking, &connector).await, Handshake::Full13, "not past what is asked now");
    let off = Acceptor::new(&ServerTls { tickets: Tickets::Off, ..renewed }, Some(&second)).unwrap();
    assert_eq!(handshake(&off, &connector).await, Handshake::Full13);
    assert_eq!(handshake(&off, &connector).await, Handshake::Full13);
}

#[tokio::test]
async fn instances_with_the_same_keys_share_sessions() {
    let authority = Authority::new();
    let connector = client(Trust::Authorities(authority.authorities()), |_| {});
    let keys = |keys: &[u8]| {
        let keys = TicketKeys { file: "t.key".into(), keys: keys.iter().map(|key| [*key; 80]).collect() };
        ServerTls { tickets: Tickets::Shared(Arc::new(keys)), ..server(vec![authority.issue(&["a.example"])]) }
    };
    let (one, other, third) = (acceptor(&keys(&[1])), acceptor(&keys(&[2, 1])), acceptor(&keys(&[3])));
    assert_eq!(handshake(&one, &connector).await, Handshake::Full13);
    assert_eq!(handshake(&other, &connector).await, Handshake::Resumed13);
    assert_eq!(handshake(&third, &connector).await, Handshake::Full13);
}

#[tokio::test]
async fn what_is_no_tls_is_given_back() {
    let acceptor = acceptor(&server(vec![certificate(&["a.example"])]));
    let said = async |bytes: &[u8], early: &[u8]| {
        let (ours, mut theirs) = duplex(1024);
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        acceptor
            .accept(ours, early)
            .await
            .map(|_| ())
            .map_err(|refusal| (refusal.why, refusal.plain.map(|(_, byte)| byte)))
    };
    assert_eq!(said(b"GET / HTTP/1.1\r\n", b"").await, Err((Unshaken::NotTls, Some(b'G'))));
    assert_eq!(said(b"ET / HTTP/1.1\r\n", b"G").await, Err((Unshaken::NotTls, Some(b'G'))));
    assert_eq!(said(b"", b"").await, Err((Unshaken::Closed, None)));
    assert_eq!(said(&[22], b"").await, Err((Unshaken::Closed, None)));
    assert_eq!(said(&[22, 3, 1, 0xff, 0xff, 1, 0, 0], b"").await.unwrap_err().0, Unshaken::Malformed);
    assert_eq!(said(&[3, 1, 0, 4, 9, 9, 9, 9], &[22]).await.unwrap_err().0, Unshaken::Malformed);
}

#[test]
fn handshakes_under_way_are_bounded_over_reloads() {
    let wanted = server(vec![certificate(&["a.example"])]);
    let first = acceptor(&wanted);
    let (one, two) = (first.begin().unwrap(), first.begin().unwrap());
    let second = Acceptor::new(&ServerTls { max_handshakes: 3, ..wanted }, Some(&first)).unwrap();
    assert!(first.begin().is_none());
    let three = second.begin().unwrap();
    assert!(second.begin().is_none());
    drop((one, two, three));
    assert!(first.begin().is_some());
}
