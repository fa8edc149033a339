//! Every address of the admin API.

use std::fmt::Write as _;

use weir::admin::routes::{ALWAYS, ROUTES, Route, Who};

use super::{expect, row};

const HEAD: &str = "# Reference: the admin API

On the [`admin`](configuration.md#admin) address. GET stands for HEAD too. Answers are JSON unless something else is said,
parameters stand after `?`, and nothing has a body to send. Who *anybody*, *who may read* and *who may change* are is in
[operations.md](../operations.md#who-may-ask): on this host everybody may do everything, elsewhere a token or a
certificate says it.

| address | who | what |
|---|---|---|
";

#[test]
fn the_api_is_the_tables() {
    let mut page = HEAD.to_owned();
    for route in ROUTES {
        let what = route.what.split(['.', ':']).next().unwrap_or_default();
        page += &row(&[&format!("[`{}`](#{})", name(route), anchor(route)), who(route), &format!("{what}.")]);
    }
    page += "\n## Status codes\n\nBeside 200, and those that stand with an address. Errors are `application/problem+json` \
             (RFC 9457): `status`, `title` and `detail`.\n\n| code | when |\n|---|---|\n";
    for (status, when) in ALWAYS {
        page += &row(&[&status.to_string(), when]);
    }
    for route in ROUTES {
        let _ = write!(page, "\n## `{}`\n\n{} For {}.\n", name(route), route.what, who(route));
        if !route.parameters.is_empty() {
            page += "\n| parameter | says |\n|---|---|\n";
            for (parameter, says) in route.parameters {
                page += &row(&[&format!("`{parameter}`"), says]);
            }
        }
        for (at, (status, when)) in route.answers.iter().enumerate() {
            let _ = write!(page, "{}- {status}: {when}\n", if at == 0 { "\n" } else { "" });
        }
    }
    expect("api", &page);
}

fn name(route: &Route) -> String {
    format!("{} {}", route.method, route.path)
}

/// As it is made of the heading.
fn anchor(route: &Route) -> String {
    let name = name(route).to_lowercase();
    let kept = name.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn who(route: &Route) -> &'static str {
    match route.who {
        Who::Anybody => "anybody",
        Who::Reader => "who may read",
        Who::Changer => "who may change",
    }
}
