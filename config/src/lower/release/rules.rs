//! Rules of who is in a canary and who is not, and files with users.

use std::sync::Arc;

use crate::check;
use crate::files::Files;
use crate::grammar;
use crate::lower::listener::scalar;
use crate::lower::{Fields, route};
use crate::mistake::Mistake;
use crate::model::{Canonical, HeaderMatch, Rule, Users};
use crate::report::{Path, Report};
use crate::shape;
use crate::yaml::{Key, Node, Value};

/// Reads rules of one release.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) canonical: Canonical,
    pub(super) files: &'a Files<'a>,
}

impl Reader<'_> {
    pub(super) fn lower_all(
        self,
        fields: &Fields<'_>,
        name: &'static str,
        path: &Path<'_>,
        report: &mut Report,
    ) -> Vec<Rule> {
        let path = path.key(name);
        let items = fields.items(name).iter().enumerate();
        items.filter_map(|(at, node)| self.lower(node, &path.item(at), report)).collect()
    }

    fn lower(self, node: &Node, path: &Path<'_>, report: &mut Report) -> Option<Rule> {
        let fields = Fields::of(node, &shape::RULE)?;
        let (header, cookie) = (fields.get("header"), fields.get("cookie"));
        let networks: Vec<_> =
            fields.items("cidr").iter().filter_map(scalar).filter_map(|text| grammar::cidr(text).ok()).collect();
        let users = fields.get("users");
        if let Some(node) = header {
            one_name(node, "header", fields.entries("header"), path, report)?;
            let found = route::headers(fields.entries("header")).pop();
            return found.map(|HeaderMatch { name, test }| Rule::Header { name, test });
        }
        if let Some(node) = cookie {
            let (name, value) = one_name(node, "cookie", fields.entries("cookie"), path, report)?;
            return cookie_rule(name, value, &path.key("cookie"), report);
        }
        if let Some(node) = users {
            return self.users(&fields, node, &path.key("users"), report).map(Rule::Users);
        }
        (!networks.is_empty()).then_some(Rule::Networks(networks))
    }

    fn users(self, fields: &Fields<'_>, node: &Node, path: &Path<'_>, report: &mut Report) -> Option<Arc<Users>> {
        if let Some(text) = fields.text("users") {
            let name = grammar::users_file(&text).ok()?;
            return match self.files.users(name, self.canonical) {
                Ok(users) => Some(users),
                Err(wrong) => {
                    report.wrong(node.mark(), path, wrong);
                    None
                }
            };
        }
        let mut ids = Vec::new();
        for (at, node) in fields.items("users").iter().enumerate() {
            let Ok(id) = check::text(node, &shape::USER_ID) else {
                continue;
            };
            if let Value::Integer(_) = node.value
                && node.span.len != id.len()
            {
                let message = format!("this is read as the number {id}");
                let mistake = Mistake::error("unclear_user_id", node.mark(), message);
                report.push(mistake.hint("put the id in quotes, as requests bring it"), &path.item(at));
            }
            ids.push(id);
        }
        let forms: Vec<_> = ids.iter().map(|id| self.canonical.of(id.as_bytes())).collect();
        Some(Arc::new(Users::new(forms.iter().map(|id| &**id), None)))
    }
}

/// The one entry of a map from names to tests.
fn one_name<'n>(
    node: &'n Node,
    what: &'static str,
    entries: &'n [(Key, Node)],
    path: &Path<'_>,
    report: &mut Report,
) -> Option<(&'n Key, &'n Node)> {
    match entries {
        [(key, value)] => Some((key, value)),
        // Reported as what it is, if it is no map.
        [] if !matches!(node.value, Value::Map(_)) => None,
        [] => {
            let mistake = Mistake::error("no_rule", node.mark(), format!("no {what} is named here"));
            report.push(mistake.hint(format!("as in `{{{what}: {{x-beta: \"1\"}}}}`")), &path.key(what));
            None
        }
        [_, (second, _), ..] => {
            let mistake = Mistake::error("two_rules", second.span, format!("a rule looks at one {what}"));
            let hint = "write each as a rule of its own; whoever one of them takes is taken";
            report.push(mistake.hint(hint), &path.key(what));
            None
        }
    }
}

fn cookie_rule(name: &Key, value: &Node, path: &Path<'_>, report: &mut Report) -> Option<Rule> {
    let name = grammar::cookie_name(&name.text).ok()?;
    if !matches!(value.value, Value::Map(_)) {
        let value = check::text(value, &shape::COOKIE_VALUE).ok()?;
        return Some(Rule::Cookie { name, value: Some(value) });
    }
    let fields = Fields::of(value, &shape::COOKIE_PRESENCE)?;
    let given = fields.get("present")?;
    if !fields.bool("present") && check::boolean(given).is_ok() {
        let message = format!("almost everybody is without the cookie {name}: a rule takes those that have it");
        let mistake = Mistake::error("absent_cookie", given.mark(), message);
        report.push(mistake.hint("`{present: true}` in the list of the other side says the same"), &path.key(&name));
        return None;
    }
    Some(Rule::Cookie { name, value: None })
}
