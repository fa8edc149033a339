//! The command line as a page to read, made from what clap is told: `docs/reference/commands.md`.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory};

use super::Cli;

const HEAD: &str = "# Reference: commands

Made from the program itself: `weir help VERB` prints the same, `weir man` as a manual, and `weir completions SHELL` is for
the shell. An option may come from the environment instead, by the name that stands with it.

";

/// What the program's end says, beside what each verb adds.
const EXITS: [(u8, &str); 4] = [
    (0, "Done; of `weir run`: stopped, and every request was finished."),
    (
        1,
        "What was asked about is bad, or cannot be had: a mistake in the file, a taken port, no answer, a refused reload.",
    ),
    (2, "The command line is wrong."),
    (3, "`weir run` stopped, but requests were cut: the deadline passed, or it was asked twice."),
];

/// The reference of the command line, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut whole = Cli::command();
    whole.build();
    let verbs: Vec<&Command> = whole.get_subcommands().filter(|verb| verb.get_name() != "help").collect();
    let mut page = HEAD.to_owned() + "| verb | |\n|---|---|\n";
    for verb in &verbs {
        let name = verb.get_name();
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(page, "| [`weir {name}`](#weir-{name}) | {} |", cell(&about));
    }
    page += "\n## Exit codes\n\n| code | means |\n|---|---|\n";
    for (code, means) in EXITS {
        let _ = writeln!(page, "| {code} | {means} |");
    }
    for verb in verbs {
        tell(verb, "weir", 2, &mut page);
    }
    page
}

/// One verb, and those under it.
fn tell(verb: &Command, before: &str, depth: usize, page: &mut String) {
    let name = format!("{before} {}", verb.get_name());
    let about = verb.get_long_about().or_else(|| verb.get_about()).map(ToString::to_string).unwrap_or_default();
    let _ = write!(page, "\n{} {name}\n\n{}\n", "#".repeat(depth), sentences(&about));
    let usage = verb.clone().render_usage().to_string();
    let _ = write!(page, "\n```text\n{}\n```\n", usage.trim_start_matches("Usage: ").replace("\n       ", "\n"));
    let arguments: Vec<&Arg> = verb.get_arguments().filter(|argument| told(argument)).collect();
    if !arguments.is_empty() {
        *page += "\n| argument | default | environment | meaning |\n|---|---|---|---|\n";
        // What stands in order comes first.
        let (named, placed): (Vec<&Arg>, Vec<&Arg>) =
            arguments.into_iter().partition(|argument| argument.get_long().is_some());
        placed.into_iter().chain(named).for_each(|argument| *page += &row(argument));
    }
    if let Some(example) = verb.get_after_help().map(ToString::to_string) {
        let lines = example.lines().skip(1).map(|line| line.strip_prefix("  ").unwrap_or(line));
        let _ = write!(page, "\n```text\n{}\n```\n", lines.collect::<Vec<_>>().join("\n"));
    }
    for under in verb.get_subcommands().filter(|under| under.get_name() != "help") {
        tell(under, &name, depth + 1, page);
    }
}

/// Every verb has `--help`.
fn told(argument: &Arg) -> bool {
    !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str())
}

fn row(argument: &Arg) -> String {
    let values: Vec<&str> = argument.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect();
    let takes = argument.get_num_args().is_some_and(|count| count.takes_values());
    let value = if takes { values.join(" ") } else { String::new() };
    let name = match (argument.get_short(), argument.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long} {value}"),
        (None, Some(long)) => format!("--{long} {value}"),
        (Some(short), None) => format!("-{short} {value}"),
        (None, None) if argument.is_required_set() => format!("<{value}>"),
        (None, None) => format!("[{value}]"),
    };
    let default: Vec<String> =
        argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    let default = if takes { default.join(", ") } else { String::new() };
    let environment = argument.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
    let help = argument.get_long_help().or_else(|| argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut meaning = cell(&help);
    if takes {
        for value in argument.get_possible_values().iter().filter(|value| !value.is_hide_set()) {
            let help = value.get_help().map(|help| format!(": {help}")).unwrap_or_default();
            let _ = write!(meaning, "<br>`{}`{}", value.get_name(), cell(&help));
        }
    }
    format!("| `{}` | {default} | {environment} | {meaning} |\n", cell(name.trim()))
}

/// Text as it may stand in a cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace("\n\n", " ").replace('\n', " ")
}

/// The first line of what clap is told has no full stop.
fn sentences(about: &str) -> String {
    match about.split_once("\n\n") {
        Some((first, rest)) => format!("{first}.\n\n{rest}"),
        None => format!("{about}."),
    }
}
