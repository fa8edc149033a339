//! Session tickets: with which a client goes on where an earlier connection left off.
//!
//! The form is that of RFC 5077, section 4: name of the key, IV, the state encrypted by AES-256-CBC,
//! HMAC-SHA-256 over all of it. Keys are derived from those of the file, and from what the listener
//! asks of clients: a ticket stands for a client certificate that was verified, so one that was
//! given where none was asked for, or by other authorities, must open nothing here.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use rustls::server::ProducesTickets;
use weir_config::model::{ClientCertificates, TicketKeys};

/// What a ticket is bound to.
pub(super) type Binding = [u8; 32];

/// The binding of tickets where clients are asked for `clients`.
pub(super) fn binding(clients: Option<&ClientCertificates>) -> Binding {
    let mut context = digest::Context::new(&SHA256);
    context.update(b"weir tickets 1");
    if let Some(clients) = clients {
        context.update(&[1, u8::from(clients.required)]);
        for der in &clients.authorities.certificates {
            context.update(&(der.len() as u64).to_be_bytes());
            context.update(der);
        }
    }
    let mut binding = [0; 32];
    binding.copy_from_slice(context.finish().as_ref());
    binding
}

/// Tickets with keys that instances share. The first encrypts, all decrypt.
pub(super) struct Shared(Vec<Key>);

struct Key {
    name: [u8; NAME],
    encrypt: PaddedBlockEncryptingKey,
    decrypt: PaddedBlockDecryptingKey,
    authenticate: hmac::Key,
}

const NAME: usize = 16;
const IV: usize = 16;
const TAG: usize = 32;
/// Half a day, as the tickets of our own keys have. Whoever changes the file less often than that
/// keeps keys alive for longer.
const LIFETIME: u32 = 12 * 60 * 60;

impl Shared {
    /// # Errors
    /// In words, when the cryptography takes no such key.
    pub(super) fn producer(keys: &TicketKeys, binding: &Binding) -> Result<Arc<dyn ProducesTickets>, String> {
        let keys = keys.keys.iter().map(|key| Key::derive(key, binding)).collect::<Option<Vec<_>>>();
        keys.map(|keys| Arc::new(Self(keys)) as _).ok_or_else(|| "its ticket keys cannot be used".to_owned())
    }
}

impl Key {
    fn derive(key: &[u8; 80], binding: &Binding) -> Option<Self> {
        let (name, secret) = key.split_at(NAME);
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = |purpose: &[u8]| hmac::sign(&secret, &[purpose, binding].concat());
        let cipher = derived(b"encrypt");
        let unbound = || UnboundCipherKey::new(&AES_256, cipher.as_ref()).ok();
        Some(Self {
            name: name.try_into().ok()?,
            encrypt: PaddedBlockEncryptingKey::cbc_pkcs7(unbound()?).ok()?,
            decrypt: PaddedBlockDecryptingKey::cbc_pkcs7(unbound()?).ok()?,
            authenticate: hmac::Key::new(hmac::HMAC_SHA256, derived(b"authenticate").as_ref()),
        })
    }

    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let context = self.encrypt.encrypt(&mut sealed).ok()?;
        let iv: &[u8] = (&context).try_into().ok()?;
        let mut ticket = [&self.name, iv, &sealed].concat();
        let tag = hmac::sign(&self.authenticate, &ticket);
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (said, tag) = ticket.split_at_checked(ticket.len().checked_sub(TAG)?)?;
        // In constant time, and before anything is made of what may come from anybody.
        hmac::verify(&self.authenticate, said, tag).ok()?;
        let (iv, sealed) = said.get(NAME..)?.split_at_checked(IV)?;
        let iv: [u8; IV] = iv.try_into().ok()?;
        let mut sealed = sealed.to_vec();
        let plain = self.decrypt.decrypt(&mut sealed, DecryptionContext::Iv128(FixedLength::from(iv))).ok()?.len();
        sealed.truncate(plain);
        Some(sealed)
    }
}

impl ProducesTickets for Shared {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.first()?.seal(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let name = ticket.get(..NAME)?;
        self.0.iter().filter(|key| key.name == name).find_map(|key| key.open(ticket))
    }
}

// Keys stay out of logs, whoever prints what.
impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({} keys)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use weir_config::model::Authorities;

    use super::*;

    fn keys(firsts: &[u8]) -> TicketKeys {
        TicketKeys { file: "tickets.key".into(), keys: firsts.iter().map(|first| [*first; 80]).collect() }
    }

    fn tickets(firsts: &[u8], clients: Option<&ClientCertificates>) -> Arc<dyn ProducesTickets> {
        Shared::producer(&keys(firsts), &binding(clients)).unwrap()
    }

    #[test]
    fn the_first_key_encrypts_and_all_decrypt() {
        let (old, both, new) = (tickets(&[1], None), tickets(&[2, 1], None), tickets(&[2], None));
        let ticket = old.encrypt(b"a session").unwrap();
        assert_eq!(old.decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
        assert_eq!(tickets(&[1], None).decrypt(&ticket).as_deref(), Some(&b"a session"[..]), "another instance");
        assert_eq!(both.decrypt(&ticket).as_deref(), Some(&b"a session"[..]), "while keys are changed");
        assert_eq!(new.decrypt(&ticket), None, "afterwards");
        let newer = both.encrypt(b"").unwrap();
        assert_eq!((old.decrypt(&newer), new.decrypt(&newer)), (None, Some(Vec::new())));
        assert_ne!(old.encrypt(b"a session").unwrap(), ticket, "no ticket is like another");
    }

    #[test]
    fn what_was_changed_opens_nothing() {
        let tickets = tickets(&[1], None);
        let ticket = tickets.encrypt(b"a session").unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None, "byte {at}");
            assert_eq!(tickets.decrypt(&ticket[..at]), None, "cut at {at}");
        }
        assert_eq!(tickets.decrypt(&[0; 500]), None);
    }

    #[test]
    fn tickets_are_bound_to_what_is_asked_of_clients() {
        let clients = |der: u8, required| ClientCertificates {
            required,
            authorities: Arc::new(Authorities { file: "ca.pem".into(), certificates: vec![vec![der]] }),
            forward: true,
        };
        let asked = [None, Some(clients(1, true)), Some(clients(1, false)), Some(clients(2, true))];
        for (at, from) in asked.iter().enumerate() {
            let ticket = tickets(&[1], from.as_ref()).encrypt(b"verified").unwrap();
            for (other, to) in asked.iter().enumerate() {
                assert_eq!(tickets(&[1], to.as_ref()).decrypt(&ticket).is_some(), at == other, "{at} {other}");
            }
        }
    }
}
