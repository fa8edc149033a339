//! The admin address. Of tokens nothing is told but that they changed.

use std::sync::Arc;

use super::{ChangeKind, Notes, Touches, show};
use crate::admin::{Admin, Token};

pub(super) fn diff(old: Option<&Admin>, new: Option<&Admin>, notes: &mut Notes) {
    let bind = |admin: &Option<&Admin>| admin.map_or_else(|| "off".to_owned(), |admin| show::list(&admin.bind));
    let (Some(before), Some(Admin { bind: addresses, token, read_token, tls, hosts })) = (old, new) else {
        return notes.subject("").field(Touches::Nothing, "admin", &old, &new, bind);
    };
    if before.bind != *addresses {
        notes.subject("").field(Touches::Nothing, "admin", &old, &new, bind);
    }
    let notes = notes.subject("admin");
    self::token("token_file", before.token.as_ref(), token.as_ref(), notes);
    self::token("read_token_file", before.read_token.as_ref(), read_token.as_ref(), notes);
    notes.field(Touches::Nothing, "hosts", &before.hosts, hosts, |list| show::list(list));
    super::tls::of_admin(before.tls.as_ref(), tls.as_ref(), notes);
}

fn token(name: &str, old: Option<&Arc<Token>>, new: Option<&Arc<Token>>, notes: &mut Notes) {
    match (old, new) {
        (Some(old), Some(new)) if old.file == new.file => {
            if old != new {
                notes.push(ChangeKind::Changed, Touches::Nothing, &format!("{name} {}: another token", new.file));
            }
        }
        _ => {
            let file =
                |token: &Option<&Arc<Token>>| token.map_or_else(|| "none".to_owned(), |token| token.file.clone());
            notes.field(Touches::Nothing, name, &old, &new, file);
        }
    }
}
