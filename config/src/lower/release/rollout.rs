//! How versions are compared, and weights that rise by themselves.

use super::whole_buckets;
use crate::check;
use crate::lower::Fields;
use crate::mistake::Mistake;
use crate::model::{Guard, JudgeRules, OnFail, Rollout, Share};
use crate::report::{Path, Report};
use crate::shape;
use crate::yaml::Node;

pub(super) fn judge(release: &Fields<'_>) -> JudgeRules {
    let fields = release.object("judge", &shape::JUDGE);
    JudgeRules {
        min_requests: fields.count("min_requests").get(),
        confidence: fields.decimal("confidence"),
        error_margin: fields.decimal("error_margin"),
        latency_margin: fields.decimal("latency_margin"),
    }
}

/// The rollout of a canary with this weight, if that could be read.
pub(super) fn lower(
    canary: &Fields<'_>,
    weight: Option<Share>,
    path: &Path<'_>,
    report: &mut Report,
) -> Option<Rollout> {
    let node = canary.get("rollout")?;
    let fields = Fields::of(node, &shape::ROLLOUT)?;
    let path = path.key("rollout");
    let steps = steps(&fields, &path.key("steps"), report);
    let guard = fields.object("guard", &shape::GUARD);
    let rollout = Rollout {
        steps,
        hold: fields.duration("hold"),
        guard: Guard {
            error_percent: guard.decimal("error_rate"),
            latency_factor: guard.decimal("latency_factor"),
            window: guard.duration("window"),
            min_requests: guard.count("min_requests").get(),
        },
        on_fail: match fields.word("on_fail") {
            Some("pause") => OnFail::Pause,
            _ => OnFail::Rollback,
        },
    };
    if !report.has_errors()
        && let Some(weight) = weight
    {
        warn(&rollout, weight, &fields, node, &path, report);
    }
    Some(rollout)
}

fn steps(fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Vec<Share> {
    if fields.get("steps").is_none() {
        // As the table has it; a test compares them.
        return [1, 5, 25, 50, 100].into_iter().filter_map(|percent| Share::of_percent(f64::from(percent))).collect();
    }
    let mut steps: Vec<Share> = Vec::new();
    for (at, node) in fields.items("steps").iter().enumerate() {
        let Some(percent) = check::decimal(node, &shape::STEP).ok() else {
            continue;
        };
        let path = path.item(at);
        let Some(step) = whole_buckets(percent, node, &path, report) else {
            continue;
        };
        match steps.last() {
            Some(last) if step <= *last => {
                let message = format!("the step {step} comes after {last}, and steps rise");
                let mistake = Mistake::error("steps_not_rising", node.mark(), message);
                report.push(mistake.hint("put them in order, each once, as in [1, 5, 25, 50, 100]"), &path);
            }
            _ => steps.push(step),
        }
    }
    steps
}

fn warn(rollout: &Rollout, weight: Share, fields: &Fields<'_>, node: &Node, path: &Path<'_>, report: &mut Report) {
    if weight == Share::NONE {
        let message = "this rollout has nowhere to go: steps rise up to the canary's `weight`, which is 0";
        let mistake = Mistake::warning("no_effect", node.mark(), message);
        return report.push(mistake.hint("give the canary the `weight` it is to have in the end"), path);
    }
    if let Some(last) = rollout.steps.last()
        && *last < weight
        && let Some(node) = fields.get("steps")
    {
        let message = format!("the last step is {last}, so the weight of {weight} is never reached");
        let mistake = Mistake::warning("rollout_stops_short", node.mark(), message);
        report.push(mistake.hint(format!("add the step {weight}, or lower `weight` to {last}")), &path.key("steps"));
    }
}
