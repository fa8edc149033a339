//! What the status page stands on: the stream, previews, reloads.

use super::*;

/// A stream, until `pattern` has come.
async fn follow(stage: &Stage, more: &str, pattern: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    let request = format!("GET /api/v1/stream HTTP/1.1\r\nHost: {}\r\n{more}\r\n", stage.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(pattern) {
        assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0, "{}", String::from_utf8_lossy(&text));
    }
    (stream, String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn a_stream_begins_with_everything_and_goes_on() {
    play(async |stage| {
        let (mut stream, text) = follow(stage, "", "event: history").await;
        assert!(text.contains("content-type: text/event-stream"), "{text}");
        assert!(
            text.contains("event: state") && text.contains("event: releases") && text.contains("id: 1\n"),
            "{text}"
        );
        std::fs::write(&stage.file, "nonsense").unwrap();
        stage.handle.reload(crate::control::Trigger::Api).await;
        let mut more = Vec::new();
        while !String::from_utf8_lossy(&more).contains("config_rejected") {
            assert_ne!(stream.read_buf(&mut more).await.unwrap(), 0);
        }
        let last = stage.handle.journal().read(None, 0).last;
        let (_, text) = follow(stage, &format!("Last-Event-ID: {}\r\n", last - 1), "config_rejected").await;
        assert_eq!(text.matches("\nid: ").count() + usize::from(text.starts_with("id: ")), 1, "{text}");
        assert!(text.contains("\"what\":\"reload\""), "it is a problem of the state: {text}");
    })
    .await;
}

#[tokio::test]
async fn there_are_only_so_many_streams() {
    play(async |stage| {
        let mut open = Vec::new();
        for _ in 0..live::VIEWERS_MAX {
            open.push(follow(stage, "", "event: history").await.0);
        }
        let heard = stage.ask("GET", "/api/v1/stream").await;
        assert_eq!(heard.status, 503, "{}", heard.body);
        assert!(heard.head.contains("retry-after: 5"));
        open.pop();
        // It is free once its end has been seen.
        loop {
            let mut stream = TcpStream::connect(stage.address).await.unwrap();
            let request = format!("GET /api/v1/stream HTTP/1.1\r\nHost: {}\r\n\r\n", stage.address);
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut text = [0; 12];
            stream.read_exact(&mut text).await.unwrap();
            if text.ends_with(b"200") {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn other_weights_are_looked_at_and_not_taken() {
    play(async |stage| {
        let (before, weights) =
            (stage.handle.in_force(), |text| format!("/api/v1/releases/apps:preview?weights={text}"));
        let heard = stage.ask("GET", &weights("next%3D20")).await;
        assert_eq!(heard.status, 200, "{}", heard.body);
        let preview = heard.json();
        assert_eq!(preview["command"], "weir release set apps next=20");
        assert_eq!((&preview["moves"][0]["from"], &preview["moves"][0]["to"]), (&"next".into(), &"app".into()));
        assert_eq!(preview["moves"][0]["percent"], 30.0);
        let patch = preview["patch"].as_str().unwrap();
        assert!(
            patch.contains("\n-    canaries: [{cluster: next, weight: 50") && patch.contains("weight: 20"),
            "{patch}"
        );
        for (text, status) in
            [("next", 400), ("next=101", 400), ("", 400), ("app=5", 422), ("nobody=5", 422), ("next=1,next=2", 422)]
        {
            assert_eq!(stage.ask("GET", &weights(text)).await.status, status, "{text}");
        }
        assert_eq!(stage.ask("GET", "/api/v1/releases/nobody:preview?weights=next=5").await.status, 404);
        assert_eq!(stage.ask("POST", &weights("next=20")).await.status, 405);
        let after = stage.handle.in_force();
        assert_eq!((before.text, before.generation), (after.text, after.generation));
    })
    .await;
}

#[tokio::test]
async fn attempts_to_reload_are_kept_with_their_mistakes() {
    play(async |stage| {
        std::fs::write(&stage.file, CONFIG.replace("stable: app", "stable: ap")).unwrap();
        stage.handle.reload(crate::control::Trigger::Signal).await;
        std::fs::write(&stage.file, CONFIG.replace("weight: 50", "weight: 40")).unwrap();
        stage.handle.reload(crate::control::Trigger::File).await;
        let reloads = stage.ask("GET", "/api/v1/reloads").await.json()["reloads"].clone();
        let word = |at: usize, key: &str| reloads[at][key].as_str().unwrap().to_owned();
        let told = |at: usize| (word(at, "result"), word(at, "trigger"));
        assert_eq!(told(0), ("applied".to_owned(), "file".to_owned()));
        assert_eq!(told(1), ("rejected".to_owned(), "signal".to_owned()));
        assert_eq!(told(2), ("applied".to_owned(), "start".to_owned()));
        assert!(word(0, "text").contains("weight 50 -> 40"), "{reloads}");
        assert!(word(1, "text").contains("stable: ap\n") && word(1, "text").contains("^^"), "{reloads}");
        assert_eq!((&reloads[1]["generation"], &reloads[2]["generation"]), (&1.into(), &1.into()));
    })
    .await;
}
