//! Edits of files as people write them, and of files that nobody would.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn share(percent: f64) -> Share {
    Share::of_percent(percent).unwrap()
}

fn set(text: &str, changes: &[(&str, f64)]) -> Result<String, Mistakes> {
    let env = |name: &str| (name == "STAGE").then(|| "prod".to_owned());
    let changes: Vec<(&str, Share)> = changes.iter().map(|(cluster, percent)| (*cluster, share(*percent))).collect();
    set_weights(text, &Source { name: "weir.yaml", env: &env, files: &crate::no_files }, "orders", &changes)
}

/// `before` with v2 at 10 is `after`.
fn becomes(before: &str, after: &str) {
    assert_eq!(set(before, &[("v2", 10.0)]).unwrap_or_else(|mistakes| panic!("{before}{mistakes:?}")), after);
}

#[test]
fn a_weight_is_exchanged_where_it_stands() {
    for canary in [
        "      - cluster: v2\n        weight: 5\n",
        "      - cluster: v2\n        weight:   5   # five\n\n        # more\n        from: 0\n",
        "      - weight: 5\n        cluster: 'v2'\n",
        "      - {cluster: v2, weight: 5}   # gray\n",
        "      - {weight: 5,cluster: v2}\n",
        "      - {\"cluster\":\"v2\",\"weight\":5}\n",
        "      - {\n          cluster: v2,\n          weight: 5,  # five\n        }\n",
        "      - # v2\n        ? weight\n        : 5\n        ? cluster\n        : v2\n",
        "      - cluster: v2\r\n        weight: 5\r\n        from: 0\r\n",
        "      - cluster: v2\n        weight: &lonely 5\n",
        "      - cluster: v2\n        weight: 5",
        "      - cluster: v1\n        weight: 5\n      - {cluster: v2, weight: 5, from: 7}\n",
    ] {
        let text = format!("# é\nreleases:\n  - name: orders # 堰\n    stable: v0\n    canaries:\n{canary}");
        let (before, after) = text.rsplit_once('5').unwrap();
        becomes(&text, &format!("{before}10{after}"));
    }
    let several = "releases:\n- {name: a, canaries: [{cluster: v2, weight: 1}]}\n- name: orders\n  canaries:\n  - cluster: v2\n    weight: 1\n";
    becomes(several, &several.replace("    weight: 1", "    weight: 10"));
    becomes(
        "releases: {name: orders, canaries: {cluster: v2, weight: 1}}",
        "releases: {name: orders, canaries: {cluster: v2, weight: 10}}",
    );
}

#[test]
fn a_canary_without_a_weight_gets_one_in_its_style() {
    for (before, after) in [
        ("      - cluster: v2\n", "      - cluster: v2\n        weight: 10\n"),
        (
            "      - cluster: v2 # gray\n        first: []\n",
            "      - cluster: v2 # gray\n        weight: 10\n        first: []\n",
        ),
        (
            "      - first: []\n        from: 7\n        cluster: v2\n",
            "      - first: []\n        from: 7\n        weight: 10\n        cluster: v2\n",
        ),
        (
            "      - cluster: v2\r\n        first: []\r\n",
            "      - cluster: v2\r\n        weight: 10\r\n        first: []\r\n",
        ),
        ("      - cluster: v2", "      - cluster: v2\n        weight: 10"),
        (
            "      -   cluster: v2\n          first: []\n",
            "      -   cluster: v2\n          weight: 10\n          first: []\n",
        ),
        ("      - \"cluster\": v2\n", "      - \"cluster\": v2\n        \"weight\": 10\n"),
        ("      - {cluster: v2}\n", "      - {cluster: v2, weight: 10}\n"),
        ("      - { cluster: v2, first: [] }\n", "      - { cluster: v2, weight: 10, first: [] }\n"),
        ("      - {'cluster': \"v2\",'from': 0}\n", "      - {'cluster': \"v2\",'from': 0, 'weight': 10}\n"),
        (
            "      - {\n          cluster: v2, # gray\n          first: []\n        }\n",
            "      - {\n          cluster: v2, # gray\n          weight: 10,\n          first: []\n        }\n",
        ),
        ("      - {\n          cluster: v2\n        }\n", "      - {\n          cluster: v2, weight: 10\n        }\n"),
    ] {
        let head = "releases:\n  - name: orders\n    canaries:\n";
        becomes(&format!("{head}{before}"), &format!("{head}{after}"));
    }
}

#[test]
fn several_weights_change_at_once() {
    let text = "releases:\n- name: orders\n  canaries: [{cluster: v2, weight: 5, from: 0}, {cluster: v3, weight: 0.5, from: 5000}, {cluster: v4, from: 9000}]\n";
    let new = set(text, &[("v4", 12.25), ("v2", 0.0), ("v3", 10.0)]).unwrap();
    let wanted = text
        .replace("weight: 5,", "weight: 0,")
        .replace("weight: 0.5", "weight: 10")
        .replace("from: 9000}", "from: 9000, weight: 12.25}");
    assert_eq!(new, wanted);
}

#[test]
fn a_weight_that_is_that_already_stays_as_it_is_written() {
    let text = "releases: [{name: orders, canaries: [{cluster: v2, weight: 10.00}]}]";
    becomes(text, text);
}

#[test]
fn names_may_come_from_variables_weights_may_not() {
    let text =
        "releases: [{name: 'orders', canaries: [{cluster: 'v2', weight: 1}, {cluster: \"v3-${STAGE}\", weight: 1}]}]";
    assert_eq!(set(text, &[("v3-prod", 2.0)]).unwrap(), text.replace("\", weight: 1", "\", weight: 2"));
}

#[test]
fn what_cannot_be_edited_is_told_with_a_remedy() {
    let one = |canary: &str| format!("releases:\n- name: orders\n  stable: v0\n  canaries:\n  - {canary}\n");
    for (text, code, words) in [
        ("listeners: []\n".to_owned(), "unknown_release", "has no releases"),
        ("releases: [{name: oders}]".into(), "unknown_release", "did you mean `oders`?"),
        ("releases: [{name: a}, {name: b}]".into(), "unknown_release", "there are: a, b"),
        (one("{cluster: w2}"), "unknown_canary", "did you mean `w2`?"),
        ("releases: [{name: orders, stable: v1}]".into(), "unknown_canary", "there is none at all"),
        (
            "releases: [{name: orders, stable: v2, canaries: [{cluster: v3}]}]".into(),
            "stable_has_no_weight",
            "set the canaries' weights",
        ),
        (one("{cluster: v2}\n  - {cluster: v2}"), "ambiguous", "more than one canary"),
        (one("{cluster: v2, weight: '${W:-5}'}"), "weight_from_variable", "write a number in its place"),
        (one("{cluster: v2, weight: \"${W}\"}"), "weight_from_variable", "variable"),
        (one("{cluster: v2, weight: \"5\"}"), "weight_not_number", "found text"),
        (one("{cluster: v2, weight: }"), "weight_not_number", "found nothing"),
        (one("{cluster: v2, weight: [5]}"), "weight_not_number", "found a list"),
        (
            one("{cluster: v3, weight: &w 5}\n  - {cluster: v2, weight: *w}"),
            "weight_from_alias",
            "write the canary's weight out",
        ),
        (
            one("{cluster: v2, weight: &w 5}\n  - {cluster: v3, weight: *w}"),
            "weight_shared",
            "releases[0].canaries[1].weight too",
        ),
        (one("&c {cluster: v3, weight: 5}\n  - {<<: *c, cluster: v2}"), "weight_from_alias", "alias or a merge"),
        (
            one("&c {cluster: v2, weight: 5}\n- {name: b, canaries: [*c]}"),
            "weight_shared",
            "releases[1].canaries[0].weight",
        ),
        (
            "x: &c [{cluster: v2}]\nreleases: [{name: orders, canaries: *c}]".into(),
            "weight_from_alias",
            "write the canary out",
        ),
        (one("[{cluster: v2}]"), "unknown_canary", "none"),
        ("releases: [{name: orders, canaries: [cluster: v2]}]".into(), "cannot_edit", "by hand"),
        (one("{cluster: v2, weight: !!str 5}"), "weight_not_number", "found text"),
        ("a: [".into(), "syntax", "not valid YAML"),
    ] {
        let mistakes = set(&text, &[("v2", 10.0)]).expect_err(&text);
        let mistake = mistakes.iter().next().unwrap();
        assert_eq!(mistake.code, code, "{text}{mistakes}");
        assert!(mistakes.to_string().contains(words), "{text}{mistakes}");
        assert!(mistake.hint.is_some() || code == "syntax", "{mistakes}");
    }
    let twice = set(&one("{cluster: v2, weight: 1}"), &[("v2", 1.0), ("v2", 2.0)]).unwrap_err();
    assert_eq!(twice.iter().next().unwrap().code, "duplicate_weight");
}

/// How a file is written.
#[derive(Clone, Debug)]
struct Style {
    flow: [bool; 3],
    indent: usize,
    quote: &'static str,
    crlf: bool,
    comments: bool,
    bom: bool,
    end: bool,
}

/// A canary: its weight in hundredths if it has one, its own keys in which order.
#[derive(Clone, Debug)]
struct Wish {
    weight: Option<u16>,
    from: Option<u16>,
    first: bool,
    weight_at: usize,
}

fn percent(buckets: u16) -> String {
    Share::of_buckets(buckets).unwrap().to_string()
}

fn style() -> impl Strategy<Value = Style> {
    let flow = prop_oneof![
        Just([false, false, false]),
        Just([false, false, true]),
        Just([false, true, true]),
        Just([true; 3])
    ];
    let quote = prop_oneof![Just(""), Just("'"), Just("\"")];
    let switches = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (flow, 0..4usize, quote, switches).prop_map(|(flow, indent, quote, (crlf, comments, bom, end))| Style {
        flow,
        indent,
        quote,
        crlf,
        comments,
        bom,
        end,
    })
}

fn wish() -> impl Strategy<Value = Wish> {
    let weight = proptest::option::of(0..=10_000u16);
    (weight, proptest::option::of(0..10_000u16), any::<bool>(), 0..4usize)
        .prop_map(|(weight, from, first, weight_at)| Wish { weight, from, first, weight_at })
}

/// The file; `weights` are those of the release in the middle.
fn written(style: &Style, wishes: &[Wish]) -> String {
    let q = style.quote;
    let remark = |text: &str| if style.comments { format!("  # {text}: weight: 5 堰") } else { String::new() };
    let pairs = |canary: usize, wish: &Wish| {
        let mut pairs = vec![format!("{q}cluster{q}: {q}v{canary}{q}")];
        pairs.extend(wish.from.map(|from| format!("{q}from{q}: {from}")));
        pairs.extend(wish.first.then(|| "first: [{header: {x-employee: \"true\"}}]".to_owned()));
        let weight = wish.weight.map(|weight| format!("{q}weight{q}: {}", percent(weight)));
        pairs.splice(wish.weight_at.min(pairs.len())..wish.weight_at.min(pairs.len()), weight);
        pairs
    };
    let pad = |depth: usize| " ".repeat(depth * (2 + style.indent));
    let mut text = String::new();
    let braces = |pairs: &[String]| format!("{{{}}}", pairs.join(", "));
    let canaries = |flow: bool, one: bool| {
        if flow {
            let all: Vec<String> = wishes.iter().enumerate().map(|(at, wish)| braces(&pairs(at, wish))).collect();
            return format!("[{}]", all.join(", "));
        }
        let mut lines = String::new();
        for (at, wish) in wishes.iter().enumerate() {
            let pairs = pairs(at, wish);
            if one {
                let _ = write!(lines, "\n{}- {}{}", pad(2), braces(&pairs), remark("one"));
                continue;
            }
            for (n, pair) in pairs.iter().enumerate() {
                let dash = if n == 0 { "- " } else { "  " };
                let _ = write!(lines, "\n{}{dash}{pair}{}", pad(2), remark("pair"));
                if style.comments && n % 2 == 1 {
                    let _ = write!(lines, "\n\n  # between");
                }
            }
        }
        lines
    };
    let [release, list, one] = style.flow;
    text.push_str("x: {weight: 5, cluster: v0}\nreleases:");
    if release {
        let _ = write!(
            text,
            " [{{name: other, canaries: [{{cluster: v0, weight: 5}}]}}, {{name: orders, canaries: {}}}]",
            canaries(true, true)
        );
    } else {
        let _ = write!(text, "\n- name: other{}\n  canaries: [{{cluster: v0, weight: 5}}]", remark("other"));
        let _ = write!(text, "\n- canaries: {}\n  name: orders{}", canaries(list, one), remark("name"));
    }
    if style.end {
        text.push_str("\ny: 1\n");
    }
    let text = if style.crlf { text.replace('\n', "\r\n") } else { text };
    if style.bom { format!("\u{feff}{text}") } else { text }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// What is written with other weights is what comes out of setting them; and where a weight is
    /// put in, all bytes that were there stay.
    #[test]
    fn exactly_the_weights_change(
        style in style(),
        wishes in proptest::collection::vec(wish(), 1..5),
        changes in proptest::collection::btree_map(0..5usize, 0..=10_000u16, 1..5),
    ) {
        let changes: Vec<(usize, u16)> = changes.into_iter().filter(|(at, _)| *at < wishes.len()).collect();
        let text = written(&style, &wishes);
        let names: Vec<(String, Share)> =
            changes.iter().map(|(at, weight)| (format!("v{at}"), Share::of_buckets(*weight).unwrap())).collect();
        let named: Vec<(&str, Share)> = names.iter().map(|(name, weight)| (&**name, *weight)).collect();
        let source = Source { name: "weir.yaml", env: &|_| None, files: &crate::no_files };
        let new = set_weights(&text, &source, "orders", &named);
        let new = new.map_err(|mistakes| TestCaseError::fail(format!("{text}\n{mistakes}")))?;

        let mut wanted = wishes.clone();
        let mut text = text;
        for ((at, weight), change) in changes.iter().zip(&named) {
            let next = set_weights(&text, &source, "orders", &[*change]).unwrap();
            match &mut wanted[*at].weight {
                Some(had) => *had = *weight,
                None => {
                    let entry = format!("{q}weight{q}: {}", percent(*weight), q = style.quote);
                    prop_assert_eq!(put_in(&text, &next), Some(&*entry), "{}", next);
                }
            }
            text = next;
        }
        prop_assert_eq!(&new, &text, "one by one or all at once");
        if changes.iter().all(|(at, _)| wishes[*at].weight.is_some()) {
            prop_assert_eq!(&new, &written(&style, &wanted));
        }
    }
}

/// What stands in `new` beside all of `old`, without what parts it from its neighbours.
fn put_in<'a>(old: &str, new: &'a str) -> Option<&'a str> {
    let same = old.bytes().zip(new.bytes()).take_while(|(old, new)| old == new).count();
    let more = new.len().checked_sub(old.len())?;
    let (before, rest) = new.split_at(same);
    let (more, after) = rest.split_at(more);
    (format!("{before}{after}") == old).then(|| more.trim_matches([',', ' ', '\r', '\n']))
}
