//! Sockets that come from another process, and those that one day go to the next.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use weir_config::model::{Address, ListenerName};

use crate::process::handover::{Kind, Left, Role};

/// Written by the gates, read when another process takes over.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    /// What another process left and nobody asked for yet.
    left: RefCell<Vec<Left>>,
    /// Another descriptor of each socket that accepts. Whoever closes a socket closes these first: as
    /// long as one is open, connections come in.
    lent: RefCell<Vec<Left>>,
    /// Addresses of which the service manager has the sockets, too.
    theirs: RefCell<BTreeSet<String>>,
}

/// Sockets of one address that were left.
#[derive(Debug)]
pub(super) struct Inherited {
    pub(super) sockets: Vec<OwnedFd>,
    /// Whether the service manager has them, too.
    pub(super) theirs: bool,
}

impl Handed {
    pub(crate) fn new(left: Vec<Left>) -> Self {
        Self { left: RefCell::new(left), ..Self::default() }
    }

    /// The sockets of this address that were left, and at least `count`: where there are fewer, several
    /// accept on the same.
    pub(super) fn take(
        &self,
        kind: Kind,
        listener: Option<&ListenerName>,
        address: &Address,
        count: usize,
    ) -> Option<io::Result<Inherited>> {
        // Two listeners may both ask for "any port"; all other addresses are unique.
        let any_port = address.ip().is_some_and(|address| address.port() == 0);
        let wanted = self.role(kind, listener, address);
        let mut left = self.left.borrow_mut();
        let at = left.iter().position(|Left { role, .. }| {
            // Whoever opened it for us knows ports, but nothing of an admin address.
            let unnamed = role.listener.is_none() && role.kind == Kind::Streams;
            let kind = role.kind == wanted.kind || (unnamed && kind == Kind::Admin);
            kind && role.configured == wanted.configured && (!any_port || role.listener == wanted.listener)
        })?;
        let Left { role: Role { theirs, .. }, sockets } = left.remove(at);
        if theirs {
            self.theirs.borrow_mut().insert(wanted.configured);
        }
        Some(at_least(sockets, count).map(|sockets| Inherited { sockets, theirs }))
    }

    /// What was left and is not wanted any more is closed, and its file removed, which nobody else does.
    pub(super) fn close_the_rest(&self) {
        for Left { role, .. } in self.left.borrow_mut().drain(..) {
            tracing::warn!(address = role.configured, "no listener has this address: its socket is closed");
            if let Some(path) = role.configured.strip_prefix("unix:").filter(|_| !role.theirs) {
                // It may be gone already.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Keeps other descriptors of these sockets, in case of an upgrade.
    pub(super) fn lend(
        &self,
        kind: Kind,
        listener: Option<&ListenerName>,
        address: &Address,
        sockets: io::Result<Vec<OwnedFd>>,
    ) {
        match sockets {
            Ok(sockets) => self.lent.borrow_mut().push(Left { role: self.role(kind, listener, address), sockets }),
            // A world without other processes.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(error) => tracing::warn!(%address, %error, "this address will not survive an upgrade"),
        }
    }

    /// They are not served any more.
    pub(super) fn take_back(&self, kind: Kind, listener: Option<&ListenerName>, address: &Address) {
        let role = self.role(kind, listener, address);
        self.lent.borrow_mut().retain(|left| left.role != role);
        // Whoever serves this address once more opens it.
        self.theirs.borrow_mut().remove(&role.configured);
    }

    fn role(&self, kind: Kind, listener: Option<&ListenerName>, address: &Address) -> Role {
        let (listener, configured) = (listener.map(|name| name.as_str().to_owned()), address.to_string());
        let theirs = self.theirs.borrow().contains(&configured);
        Role { kind, listener, configured, theirs }
    }

    /// Nothing will be handed over any more: from now on closing a socket closes it.
    pub(crate) fn let_go(&self) {
        self.lent.borrow_mut().clear();
    }

    /// Descriptors of all that is served, for another process.
    ///
    /// # Errors
    /// Those of the system: too many are open.
    pub(crate) fn legacy(&self) -> io::Result<Vec<Left>> {
        let again = |left: &Left| {
            let sockets = left.sockets.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>()?;
            Ok(Left { role: left.role.clone(), sockets })
        };
        self.lent.borrow().iter().map(again).collect()
    }
}

fn at_least(mut sockets: Vec<OwnedFd>, count: usize) -> io::Result<Vec<OwnedFd>> {
    let own = sockets.len();
    for at in own..count {
        let Some(socket) = sockets.get(at % own.max(1)) else { break };
        sockets.push(socket.try_clone()?);
    }
    Ok(sockets)
}
