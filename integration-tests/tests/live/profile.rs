//! Where the CPU time of the real binary goes, as others read it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use prost::Message;
use serde_json::Value;
use weir_integration_tests::backend::Backend;
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::wait;

use crate::{Front, Scene};

/// As much of `profile.proto` as is looked at.
#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(int64, tag = "12")]
    period: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

impl Profile {
    fn text(&self, at: i64) -> &str {
        &self.string_table[usize::try_from(at).unwrap()]
    }

    /// The functions of a sample, the innermost first.
    fn functions(&self, sample: &Sample) -> Vec<&str> {
        let location = |id: &u64| self.location.iter().find(|location| location.id == *id).unwrap();
        let function = |line: &Line| self.function.iter().find(|function| function.id == line.function_id).unwrap();
        let lines = sample.location_id.iter().flat_map(|id| &location(id).line);
        lines.map(|line| self.text(function(line).name)).collect()
    }
}

/// Ends the load with the story, however that ends.
struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// What `gzip -dc` makes of it.
fn unpacked(packed: &[u8]) -> Vec<u8> {
    let mut gzip =
        Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip is there");
    let mut input = gzip.stdin.take().unwrap();
    let packed = packed.to_vec();
    let writing = thread::spawn(move || input.write_all(&packed).unwrap());
    let output = gzip.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success(), "gzip does not take it");
    output.stdout
}

#[test]
fn a_profile_of_a_busy_instance_names_what_it_does() {
    let front = Front::with(Backend::text("ok"), |scene: Scene| scene);
    let busy = AtomicBool::new(true);
    let (web, busy) = (front.web, &busy);
    let ask = |how: &str| front.weir.admin_get(&format!("/debug/pprof/profile?seconds=2&frequency=499{how}"));
    let ask = &ask;
    thread::scope(|scope| {
        let _end = AtEnd(busy);
        for _ in 0..2 {
            scope.spawn(move || {
                let mut client = RawClient::connect(web);
                while busy.load(Ordering::Relaxed) {
                    client.send(get("/"));
                    client.response().unwrap();
                }
            });
        }
        let packed = ask("");
        assert_eq!(packed.status, 200, "{}", packed.text());
        let profile = Profile::decode(&unpacked(&packed.body)[..]).expect("a profile");
        let kinds: Vec<_> =
            profile.sample_type.iter().map(|of| (profile.text(of.kind), profile.text(of.unit))).collect();
        assert_eq!(kinds, [("samples", "count"), ("cpu", "nanoseconds")]);
        assert_eq!(profile.period, 1_000_000_000 / 499);
        assert!(profile.duration_nanos >= 2_000_000_000);
        let ours = |sample: &&Sample| profile.functions(sample).iter().any(|name| name.contains("weir::worker::"));
        let samples: i64 = profile.sample.iter().filter(ours).map(|sample| sample.value[0]).sum();
        assert!(samples > 0, "no worker in {:?}", profile.string_table);
        let files = profile.function.iter().map(|function| profile.text(function.filename));
        assert!(files.clone().any(|file| file.ends_with("forward.rs")), "{:?}", files.collect::<Vec<_>>());
        assert!(profile.location.iter().any(|location| location.line.iter().any(|line| line.line > 0)));

        // One at a time, and what it was asked by is read as it is.
        let both = wait::until("two at once", || {
            let both = [(); 2].map(|()| scope.spawn(move || ask("&format=svg")));
            let mut both = both.map(|one| one.join().unwrap());
            both.sort_by_key(|answer| answer.status);
            (both.each_ref().map(|answer| answer.status) == [200, 409]).then_some(both)
        });
        let picture = both[0].text();
        assert!(picture.starts_with("<svg ") && picture.contains("weir::worker::"), "{picture:.2000}");
    });

    let tasks = front.weir.json("/debug/pprof/tasks");
    let workers = tasks["workers"].as_array().unwrap();
    assert!(!workers.is_empty() && workers.iter().all(|worker| worker["state"] == "running"), "{tasks}");
    let number = |value: &Value| value.as_f64().unwrap();
    assert!(workers.iter().map(|worker| number(&worker["busy_seconds"])).sum::<f64>() > 0.0, "{tasks}");
    let text = front.weir.command(&["profile", "--seconds", "1", "--format", "text"]);
    assert!(text.status.success(), "{text:?}");
    assert_eq!(front.weir.admin_get("/debug/pprof/profile?seconds=61").status, 400);
    assert_eq!(front.weir.admin_post("/debug/pprof/profile").status, 405);
}
