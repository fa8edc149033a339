//! What changes of tracing. Values of headers are secrets, and not shown.

use super::{Notes, Touches, show};
use crate::model::{FollowParent, Otlp, Tracing};

pub(super) fn diff(old: Option<&Tracing>, new: Option<&Tracing>, notes: &mut Notes) {
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        (None, Some(new)) => {
            return notes.subject("").added(Touches::NewRequests, &format!("tracing ({})", whole(new)));
        }
        (Some(old), None) => {
            return notes.subject("").removed(Touches::NewRequests, &format!("tracing ({})", whole(old)));
        }
        (None, None) => return,
    };
    let Tracing { otlp, ratio, parent, service_name } = new;
    let notes = notes.subject("tracing");
    notes.field(Touches::NewRequests, "ratio", &old.ratio, ratio, show::plain);
    let word = |parent: &FollowParent| parent.as_str().to_owned();
    notes.field(Touches::NewRequests, "parent", &old.parent, parent, word);
    notes.field(Touches::Nothing, "service_name", &old.service_name, service_name, show::plain);
    match (&old.otlp, otlp) {
        (Some(old), Some(new)) => export(old, new, notes),
        (old, new) => notes.field(Touches::Nothing, "otlp", old, new, |otlp| {
            otlp.as_ref().map_or_else(|| "none".to_owned(), |otlp| otlp.endpoint.to_string())
        }),
    }
}

fn whole(tracing: &Tracing) -> String {
    let to = tracing.otlp.as_ref().map_or_else(|| "ids only".to_owned(), |otlp| format!("to {}", otlp.endpoint));
    format!("{to}, ratio {}", tracing.ratio)
}

fn export(old: &Otlp, new: &Otlp, notes: &mut Notes) {
    let Otlp { endpoint, headers, timeout, queue, batch, interval } = new;
    notes.field(Touches::Nothing, "otlp endpoint", &old.endpoint, endpoint, show::plain);
    if old.headers != *headers {
        notes.push(super::ChangeKind::Changed, Touches::Nothing, "otlp headers changed");
    }
    notes.field(Touches::Nothing, "otlp timeout", &old.timeout, timeout, show::duration);
    notes.field(Touches::Nothing, "otlp queue", &old.queue, queue, show::plain);
    notes.field(Touches::Nothing, "otlp batch", &old.batch, batch, show::plain);
    notes.field(Touches::Nothing, "otlp interval", &old.interval, interval, show::duration);
}

#[cfg(test)]
mod tests {
    use crate::{diff, parse_str};

    fn told(old: &str, new: &str) -> String {
        let config = |tracing: &str| {
            let text = format!(
                "listeners: [{{name: web, bind: '127.0.0.1:80', cluster: app}}]\n\
                 clusters: [{{name: app, endpoints: ['127.0.0.1:81']}}]\n{tracing}\n"
            );
            parse_str(&text).unwrap().config
        };
        let changes = diff(&config(old), &config(new));
        changes.iter().map(|change| format!("{} {}\n", change.what, change.touches.as_str())).collect()
    }

    #[test]
    fn every_key_is_told_and_no_secret() {
        let old = "tracing: {otlp: {endpoint: 'http://a:4318', headers: {x-key: secret}}}";
        let new = "tracing: {otlp: {endpoint: 'https://b', headers: {x-key: other}, timeout: 1s, queue: 10, batch: 5, \
                   interval: 1s}, ratio: 1, parent: never, service_name: edge}";
        assert_eq!(
            told(old, new),
            "tracing: ratio 0.01 -> 1 new_requests\n\
             tracing: parent follow -> never new_requests\n\
             tracing: service_name weir -> edge nothing\n\
             tracing: otlp endpoint http://a:4318/v1/traces -> https://b:443/v1/traces nothing\n\
             tracing: otlp headers changed nothing\n\
             tracing: otlp timeout 10s -> 1s nothing\n\
             tracing: otlp queue 2048 -> 10 nothing\n\
             tracing: otlp batch 512 -> 5 nothing\n\
             tracing: otlp interval 5s -> 1s nothing\n"
        );
        assert_eq!(told("", old), "tracing (to http://a:4318/v1/traces, ratio 0.01) new_requests\n");
        assert_eq!(told("tracing: {}", ""), "tracing (ids only, ratio 0.01) new_requests\n");
        assert_eq!(told("tracing: {}", old), "tracing: otlp none -> http://a:4318/v1/traces nothing\n");
    }
}
