//! The sockets of the admin address: reserved and given up as those of listeners are, but one each, and
//! served by the control thread.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;

use tokio::sync::mpsc::UnboundedSender;
use weir_config::model::{Address, Admin, Config};

use super::super::cannot_bind;
use super::handed::Inherited;
use super::{Handed, overlap};
use crate::admin::Door;
use crate::control::ReserveError;
use crate::env::Env;
use crate::process::handover::Kind;
use crate::process::ports;

/// Who may change things over a Unix socket: its user and its group.
const SOCKET_MODE: u32 = 0o660;

/// Holds the list of what is served; the sockets themselves are whoever's who serves them.
pub(crate) struct AdminGate<R> {
    /// What the command line says, over the file.
    over: Option<Address>,
    doors: UnboundedSender<Door<R>>,
    served: Vec<Served>,
    /// Addresses given up, perhaps a moment ago.
    retired: BTreeSet<Address>,
    handed: Rc<Handed>,
}

#[derive(Clone, Debug)]
pub(super) struct Served {
    configured: Address,
    actual: Address,
}

/// Sockets bound for a configuration that is not in force yet.
pub(super) type Fresh<R> = Vec<(Served, R)>;

impl<R> AdminGate<R> {
    /// Nothing is served yet. `over`: where to serve, whatever the file says.
    pub(crate) const fn new(over: Option<Address>, doors: UnboundedSender<Door<R>>, handed: Rc<Handed>) -> Self {
        Self { over, doors, served: Vec::new(), retired: BTreeSet::new(), handed }
    }

    /// What is or was ours, as bound.
    pub(super) fn ours(&self) -> impl Iterator<Item = &Address> {
        self.served.iter().map(|served| &served.actual).chain(&self.retired)
    }

    fn wanted(&self, config: &Config) -> Vec<Address> {
        match (&self.over, &config.admin) {
            (Some(over), _) => vec![over.clone()],
            (None, Some(admin)) => admin.bind.clone(),
            (None, None) => Vec::new(),
        }
    }

    /// What the command line says must be as safe as what the file may say.
    fn refuse_open(&self, config: &Config) -> Result<(), ReserveError> {
        let Some(over) = &self.over else { return Ok(()) };
        let admin = Admin { bind: vec![over.clone()], ..config.admin.clone().unwrap_or(Admin::at(Vec::new())) };
        if admin.open_to_all().is_none() {
            return Ok(());
        }
        Err(ReserveError::file(format!(
            "the admin address {over} can be reached from other hosts, and whoever reaches it could read and change: \
             give `admin` a `token_file` or `tls` with `client_certificates` in the file, or keep it on this host"
        )))
    }

    /// Binds what `config` needs and is not bound yet; `others` are the listeners'.
    pub(super) fn reserve<E: Env<Reserved = R>>(
        &self,
        env: &E,
        config: &Config,
        others: &[Address],
    ) -> Result<Fresh<R>, Vec<ReserveError>> {
        self.refuse_open(config).map_err(|error| vec![error])?;
        let (mut fresh, mut errors) = (Fresh::new(), Vec::new());
        for address in self.wanted(config) {
            if self.served.iter().any(|served| served.configured == address) {
                continue;
            }
            let beside_ours = self.ours().chain(others).any(|ours| overlap(ours, &address));
            let inherited = self.handed.take(Kind::Admin, None, &address, 1);
            let bound = match inherited {
                Some(inherited) => inherited.and_then(|inherited| adopt(env, inherited)),
                None => bind(env, &address, beside_ours),
            };
            match bound {
                Ok((actual, socket)) => fresh.push((Served { configured: address, actual }, socket)),
                Err(error) => {
                    let why = cannot_bind(ports::Kind::Tcp, &address, &error);
                    errors.push(ReserveError::file(format!("cannot bind the admin address {address}: {why}")));
                }
            }
        }
        if errors.is_empty() { Ok(fresh) } else { Err(errors) }
    }

    /// Serves what was reserved, and no longer what `config` has not.
    pub(super) fn open<E: Env<Reserved = R>>(&mut self, env: &E, config: &Config, fresh: Fresh<R>) {
        let wanted = self.wanted(config);
        let all = std::mem::take(&mut self.served).into_iter();
        let (kept, gone): (Vec<_>, Vec<_>) = all.partition(|served| wanted.contains(&served.configured));
        self.served = kept;
        for (served, socket) in fresh {
            // Here and not where it is served: whoever is told of it may connect at once.
            if let Err(error) = env.admit(&socket) {
                tracing::error!(address = %served.actual, %error, "cannot listen");
            }
            self.handed.lend(Kind::Admin, None, &served.configured, env.share(&socket).map(|one| vec![one]));
            tracing::info!("the admin API is served on {}", served.actual);
            // Nobody serves anything once the process is on its way out.
            let _ = self.doors.send(Door::Open(served.configured.clone(), socket));
            self.served.push(served);
        }
        for served in gone {
            tracing::info!("the admin API is no longer served on {}", served.actual);
            self.handed.take_back(Kind::Admin, None, &served.configured);
            let _ = self.doors.send(Door::Close(served.configured));
            self.retired.insert(served.actual);
        }
    }
}

/// The socket that another process had.
fn adopt<E: Env>(env: &E, Inherited { sockets, theirs }: Inherited) -> io::Result<(Address, E::Reserved)> {
    let socket = env.adopt(sockets, theirs)?.pop().ok_or(io::ErrorKind::NotConnected)?;
    Ok((env.bound_addr(&socket)?, socket))
}

fn bind<E: Env>(env: &E, address: &Address, beside_ours: bool) -> io::Result<(Address, E::Reserved)> {
    let socket = env.reserve(address, NonZeroUsize::MIN, beside_ours)?.pop();
    let socket = socket.ok_or_else(|| io::Error::other("the system gave no socket"))?;
    if let Address::Unix(path) = address {
        // Nobody can connect yet: that waits until it is admitted.
        fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    }
    Ok((env.bound_addr(&socket)?, socket))
}
