//! What a change of the admin address is said to do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use weir_config::{Touches, diff};

#[test]
fn of_the_admin_address_everything_is_told_but_the_tokens() {
    let admin = |value: &str, token: &'static str| {
        let text = format!(
            "admin: {value}\nlisteners: [{{name: web, bind: '127.0.0.1:80', cluster: a}}]\n\
             clusters: [{{name: a, endpoints: ['10.0.0.1:80']}}]"
        );
        let files = move |_: &str| Ok(token.as_bytes().to_vec());
        let source = weir_config::Source { name: "x", env: &|_| None, files: &files };
        weir_config::parse(&text, &source).unwrap().config
    };
    let (a, b) = ("0123456789abcdef", "fedcba9876543210");
    for (old, new, what) in [
        (admin("127.0.0.1:1", a), admin("off", a), "admin 127.0.0.1:1 -> off"),
        (admin("off", a), admin("unix:/run/a", a), "admin off -> unix:/run/a"),
        (admin("{token_file: t}", a), admin("{token_file: t}", b), "admin: token_file t: another token"),
        (admin("{token_file: t}", a), admin("{token_file: u}", a), "admin: token_file t -> u"),
        (admin("{}", a), admin("{token_file: t}", a), "admin: token_file none -> t"),
    ] {
        let changes = diff(&old, &new);
        let told: Vec<_> = changes.iter().map(|change| (&*change.what, change.touches, change.needs_restart)).collect();
        assert_eq!(told, [(what, Touches::Nothing, false)]);
    }
}
