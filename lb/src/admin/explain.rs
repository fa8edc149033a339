//! What is asked with `GET /api/v1/explain` and `GET /api/v1/decisions/ID`.

use http::StatusCode;
use serde_json::Value;
use weir_core::dice::Dice;

use super::query::{Query, Wrong};
use super::status::Clock;
use crate::control::Handle;
use crate::control::explain::{self, Ask, Witness, WrongAsk};

const KNOWN: [&str; 8] = ["method", "url", "header", "client", "user", "listener", "at_weight", "seed"];

/// The way of a request that is described, on what is in force now.
pub(super) fn explain(query: &Query, handle: &Handle, clock: Clock, mut dice: Dice) -> Result<Value, Wrong> {
    query.only_or_many(&KNOWN, &["header", "at_weight"])?;
    let url = query.get("url").ok_or_else(|| {
        Wrong::new("url", "url is missing", "say what is asked for, as in url=http://shop.example/orders")
    })?;
    let client = query.get("client").map(|client| {
        let wrong = |_| Wrong::new("client", format!("client is {client:?}, which is no IP address"), "as in 10.0.0.1");
        client.parse().map_err(wrong)
    });
    let ask = Ask {
        method: query.get("method").unwrap_or("GET").to_owned(),
        url: url.to_owned(),
        headers: query.all("header").map(header).collect::<Result<_, _>>()?,
        client: client.transpose()?,
        user: query.get("user").map(str::to_owned),
        listener: query.get("listener").map(str::to_owned),
        at_weights: query.all("at_weight").map(explain::at_weight).collect::<Result<_, _>>().map_err(wrong)?,
        // Short enough to be typed, and for programs whose numbers are no larger.
        seed: query.number("seed")?.unwrap_or_else(|| dice.below(1 << 32)),
    };
    let snapshot = handle.snapshot();
    let explained = handle.view(|control| {
        let witness = Witness { control, now: clock.now, wall: clock.wall };
        explain::explain(&snapshot, &ask, witness)
    });
    Ok(value(&explained.map_err(wrong)?))
}

/// The way of a request that was served, if it is kept.
pub(super) fn decision(id: &str, handle: &Handle, clock: Clock) -> Option<Value> {
    handle.decision(id, clock.now).map(|explained| value(&explained))
}

fn value(explained: &explain::Explained) -> Value {
    // Text and numbers, by names that are text: this cannot fail.
    serde_json::to_value(explained).unwrap_or_default()
}

fn header(text: &str) -> Result<(String, String), Wrong> {
    let (name, value) = text.split_once(':').ok_or_else(|| {
        Wrong::new("header", format!("{text:?} is no header field"), "write it as in header=x-user-id:42")
    })?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn wrong(WrongAsk { parameter, detail, remedy }: WrongAsk) -> Wrong {
    Wrong { status: StatusCode::BAD_REQUEST, parameter: Some(parameter), detail, remedy }
}
