//! Files that a config leads to: read once each through whoever calls, so that this crate touches
//! no disk.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use crate::grammar::Wrong;
use crate::model::{Authorities, Canonical, Certificate, TicketKeys, Users};
use crate::release::users_file::read_users;
use crate::tls::read::{self, Part, Parts};

/// Reads a file, given its name as it is written in the config. Whoever hands it in knows the
/// folder names count from, and bounds the size.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> io::Result<Vec<u8>>;

/// What a config may read, and what it did read.
pub(crate) struct Files<'a> {
    read: ReadFile<'a>,
    now: Option<SystemTime>,
    known: RefCell<HashMap<String, Contents>>,
    users: RefCell<HashMap<(String, Canonical), Arc<Users>>>,
    certificates: RefCell<HashMap<Parts, Arc<Certificate>>>,
    authorities: RefCell<HashMap<String, Arc<Authorities>>>,
}

/// A file's bytes, or in words why there are none.
type Contents = Result<Rc<[u8]>, Rc<str>>;

impl<'a> Files<'a> {
    /// What `read` reads, at this time; `None`: nothing is too old or too new.
    pub(crate) fn new(read: ReadFile<'a>, now: Option<SystemTime>) -> Self {
        Self {
            read,
            now,
            known: RefCell::default(),
            users: RefCell::default(),
            certificates: RefCell::default(),
            authorities: RefCell::default(),
        }
    }

    /// The time by which what was read is judged.
    pub(crate) const fn now(&self) -> Option<SystemTime> {
        self.now
    }

    /// What the file `name` holds. One that is named twice is the same in both places.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(crate) fn read(&self, name: &str) -> Result<Rc<[u8]>, Wrong> {
        self.contents(name).map_err(|why| {
            Wrong::new("unreadable_file", format!("cannot read {name}: {why}"))
                .hint("file names count from the folder of this file")
        })
    }

    fn contents(&self, name: &str) -> Contents {
        let mut known = self.known.borrow_mut();
        if let Some(contents) = known.get(name) {
            return contents.clone();
        }
        let contents = match (self.read)(name) {
            Ok(bytes) => Ok(Rc::from(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Rc::from("it does not exist")),
            Err(error) => Err(Rc::from(error.to_string())),
        };
        known.insert(name.to_owned(), contents.clone());
        contents
    }

    /// The users in the file `name`, whose ids are taken in this form.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn users(&self, name: &str, canonical: Canonical) -> Result<Arc<Users>, Wrong> {
        let key = (name.to_owned(), canonical);
        if let Some(users) = self.users.borrow().get(&key) {
            return Ok(Arc::clone(users));
        }
        let users = Arc::new(read_users(name, &self.read(name)?, canonical)?);
        self.users.borrow_mut().insert(key, Arc::clone(&users));
        Ok(users)
    }

    /// The certificate in these files, with its key.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub(crate) fn certificate(&self, parts: &Parts) -> Result<Arc<Certificate>, (Part, Wrong)> {
        if let Some(certificate) = self.certificates.borrow().get(parts) {
            return Ok(Arc::clone(certificate));
        }
        let certificate = Arc::new(read::certificate(parts, &|name| self.read(name))?);
        self.certificates.borrow_mut().insert(parts.clone(), Arc::clone(&certificate));
        Ok(certificate)
    }

    /// The authorities in the file `name`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn authorities(&self, name: &str) -> Result<Arc<Authorities>, Wrong> {
        if let Some(authorities) = self.authorities.borrow().get(name) {
            return Ok(Arc::clone(authorities));
        }
        let authorities = Arc::new(read::authorities(name, &self.read(name)?)?);
        self.authorities.borrow_mut().insert(name.to_owned(), Arc::clone(&authorities));
        Ok(authorities)
    }

    /// The keys of tickets in the file `name`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn ticket_keys(&self, name: &str) -> Result<Arc<TicketKeys>, Wrong> {
        Ok(Arc::new(read::ticket_keys(name, &self.read(name)?)?))
    }
}

/// For whoever has no files.
///
/// # Errors
/// Always.
pub fn no_files(_name: &str) -> io::Result<Vec<u8>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "no files can be read here"))
}
