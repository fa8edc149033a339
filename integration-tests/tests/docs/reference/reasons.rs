//! Every reason: what `weir explain-error` says, on one page.

use std::fmt::Write as _;

use weir_core::reason::Reason;

use super::{expect, row};

const HEAD: &str = "# Reference: reasons

Why a request was not answered by an endpoint, or not to its end: a closed list. The same word stands in `X-Weir-Reason`,
in the access log, in `weir_responses_total{reason=…}` and `weir_upstream_errors_total{reason=…}`, and
`weir explain-error REASON` prints what stands here. How reasons are told is in [reasons.md](../reasons.md).

*Connection closed* stands for a status where it is too late for one: the answer had begun, or nobody is there to read
it. Of TCP sessions and UDP flows no reason has a status.

";

#[test]
fn reasons_are_the_codes() {
    let mut text = HEAD.to_owned() + "| reason | status | whose | what it says |\n|---|---|---|---|\n";
    for reason in Reason::ALL {
        let (meaning, whose) = (reason.meaning(), reason.advice().whose.as_str());
        let name = format!("[`{0}`](#{0})", meaning.name);
        text += &row(&[&name, &status(meaning.status), whose, meaning.help]);
    }
    for reason in Reason::ALL {
        let (meaning, advice) = (reason.meaning(), reason.advice());
        let settings: Vec<String> =
            advice.settings.iter().map(|key| format!("[`{key}`](configuration.md#{key})")).collect();
        let settings = if settings.is_empty() { "none".to_owned() } else { settings.join(", ") };
        let _ = write!(
            text,
            "\n## `{}`\n\n{} ({})\n\n- **Whose**: {}.\n- **Look at**: {}\n- **Settings**: {settings}.\n- **Do**: {}\n",
            meaning.name,
            meaning.help,
            status(meaning.status),
            advice.whose.words(),
            advice.look,
            advice.change,
        );
    }
    expect("reasons", &text);
}

fn status(status: u16) -> String {
    if status == 0 { "connection closed".to_owned() } else { status.to_string() }
}
