//! Every address of the admin API.

use std::fmt::Write as _;

use weir::admin::index::{ALWAYS, ENDPOINTS, Endpoint, Needs};

use super::{expect, row};

const HEAD: &str = "# Reference: the admin API

On the [`admin`](configuration.md#admin) address. GET stands for HEAD too. Answers are JSON unless something else is said,
parameters stand after `?`, and nothing has a body to send; `GET /api/v1` lists the same as JSON. Who *anybody*, *who may
read* and *who may change* are is in [operations.md](../operations.md#who-may-ask): on this host everybody may do
everything, elsewhere a token or a certificate says it.

| address | who | what |
|---|---|---|
";

#[test]
fn the_api_is_the_tables() {
    let mut page = HEAD.to_owned();
    for endpoint in ENDPOINTS {
        let what = endpoint.meaning.split(['.', ':']).next().unwrap_or_default();
        page += &row(&[&format!("[`{}`](#{})", name(endpoint), anchor(endpoint)), who(endpoint), &format!("{what}.")]);
    }
    page += "\n## Status codes\n\nBeside 200, and those that stand with an address. Errors are `application/problem+json` \
             (RFC 9457): `status`, `title` and `detail`.\n\n| code | when |\n|---|---|\n";
    for (status, when) in ALWAYS {
        page += &row(&[&status.to_string(), when]);
    }
    for endpoint in ENDPOINTS {
        let _ = write!(page, "\n## `{}`\n\n{} For {}.\n", name(endpoint), endpoint.meaning, who(endpoint));
        if !endpoint.parameters.is_empty() {
            page += "\n| parameter | says |\n|---|---|\n";
            for (parameter, says) in endpoint.parameters {
                page += &row(&[&format!("`{parameter}`"), says]);
            }
        }
        for (at, (status, when)) in endpoint.answers.iter().enumerate() {
            let _ = writeln!(page, "{}- {status}: {when}", if at == 0 { "\n" } else { "" });
        }
    }
    expect("api", &page);
}

fn name(endpoint: &Endpoint) -> String {
    format!("{} {}", endpoint.method, endpoint.path)
}

/// As it is made of the heading.
fn anchor(endpoint: &Endpoint) -> String {
    let name = name(endpoint).to_lowercase();
    let kept = name.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn who(endpoint: &Endpoint) -> &'static str {
    match endpoint.needs {
        Needs::Nothing => "anybody",
        Needs::Read => "who may read",
        Needs::Change => "who may change",
    }
}
