//! A drill's report, and the list of drills, as tables.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::Value;

use crate::cli::client::ClientError;
use crate::cli::paint::{Paint, harmless_but_colours};
use crate::cli::table::{Cell, Table, age};
use crate::cli::{Format, emit};

/// An answer of `/api/v1/drills`.
#[derive(Debug, Deserialize)]
pub(super) struct Drills {
    drills: Vec<Drill>,
}

/// An answer of `/api/v1/drills/ID`.
#[derive(Debug, Deserialize)]
pub(super) struct Drill {
    pub(super) drill: u64,
    pub(super) kind: String,
    pub(super) words: String,
    pub(super) stage: String,
    pub(super) by: String,
    pub(super) began: String,
    pub(super) ended_by: Option<String>,
    pub(super) left_seconds: Option<f64>,
    pub(super) clusters: Vec<ClusterReport>,
}

/// What clients saw of a cluster.
#[derive(Debug, Deserialize)]
pub(super) struct ClusterReport {
    pub(super) cluster: String,
    pub(super) before: Stretch,
    pub(super) during: Stretch,
    pub(super) after: Option<Stretch>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Stretch {
    pub(super) seconds: f64,
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) aborted: u64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

/// Prints a report.
pub(super) fn print(value: &Value, format: Format) -> Result<ExitCode, ClientError> {
    Ok(match format {
        Format::Json => emit(&format!("{value:#}\n")),
        Format::Text => {
            let drill = Drill::deserialize(value).map_err(|error| ClientError::answer(&error))?;
            emit(&harmless_but_colours(&render(&drill, Paint::for_stdout())))
        }
    })
}

fn render(drill: &Drill, paint: Paint) -> String {
    let ended = match (drill.stage.as_str(), &drill.ended_by) {
        ("running", _) => "still runs".to_owned(),
        (_, Some(by)) => format!("ended by {by}"),
        (_, None) => "ended when its time was up".to_owned(),
    };
    let mut text = format!("{} · {ended}\n", paint.bold(&format!("drill {} · {}", drill.drill, drill.words)));
    let heads = ["CLUSTER", "", ">SECONDS", ">REQUESTS", ">5XX", ">5XX %", ">ABORTED", ">P50", ">P99"];
    let mut table = Table::new(&heads);
    for cluster in &drill.clusters {
        let rows =
            [("before", Some(&cluster.before)), ("during", Some(&cluster.during)), ("after", cluster.after.as_ref())];
        for (at, (when, stretch)) in rows.iter().filter_map(|(when, stretch)| Some((when, (*stretch)?))).enumerate() {
            table.row([
                Cell::plain(if at == 0 { &cluster.cluster } else { "" }),
                Cell::plain(when),
                Cell::plain(format!("{:.0}", stretch.seconds)),
                Cell::plain(stretch.requests),
                Cell::plain(stretch.errors),
                Cell::plain(format!("{:.2}", stretch.errors as f64 * 100.0 / (stretch.requests.max(1)) as f64)),
                Cell::plain(stretch.aborted),
                Cell::plain(millis(stretch.p50_ms)),
                Cell::plain(millis(stretch.p99_ms)),
            ]);
        }
    }
    text += &table.render("", paint);
    text
}

fn millis(millis: Option<f64>) -> String {
    millis.map_or_else(|| "-".into(), |millis| format!("{millis:.1} ms"))
}

/// The list of drills.
pub(super) fn list(drills: &Drills, paint: Paint) -> String {
    if drills.drills.is_empty() {
        return "nothing is rehearsed, and nothing was\n".into();
    }
    let mut table = Table::new(&[">DRILL", "KIND", "STAGE", ">LEFT", "BEGAN", "BY", "WHAT"]);
    for drill in &drills.drills {
        table.row([
            Cell::plain(drill.drill),
            Cell::plain(&drill.kind),
            Cell::state(&drill.stage),
            Cell::plain(drill.left_seconds.map_or_else(|| "-".into(), |left| age(left.ceil() as u64))),
            Cell::plain(&drill.began),
            Cell::plain(&drill.by),
            Cell::plain(&drill.words),
        ]);
    }
    table.render("", paint)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn stretch(requests: u64, errors: u64) -> Value {
        json!({"seconds": 59.6, "requests": requests, "errors": errors, "aborted": 1, "p50_ms": 3.21, "p99_ms": 12.0})
    }

    #[test]
    fn a_report_reads_as_a_table() {
        let drill: Drill = serde_json::from_value(json!({
            "drill": 3, "kind": "unreachable", "words": "no connection at zone az-b", "stage": "reported", "by": "ada", "ended_by": null,
            "left_seconds": null, "began": "noon",
            "clusters": [{"cluster": "app", "before": stretch(1000, 0), "during": stretch(1200, 6), "after": stretch(400, 0)}],
        }))
        .unwrap();
        let expected = "\
drill 3 · no connection at zone az-b · ended when its time was up
CLUSTER          SECONDS  REQUESTS  5XX  5XX %  ABORTED     P50      P99
app      before       60      1000    0   0.00        1  3.2 ms  12.0 ms
         during       60      1200    6   0.50        1  3.2 ms  12.0 ms
         after        60       400    0   0.00        1  3.2 ms  12.0 ms
";
        assert_eq!(render(&drill, Paint::plain()), expected);
        let drills = Drills { drills: vec![drill] };
        assert_eq!(
            list(&drills, Paint::plain()),
            "DRILL  KIND         STAGE     LEFT  BEGAN  BY   WHAT\n    3  unreachable  reported     -  noon   ada  no connection at zone az-b\n"
        );
    }
}
