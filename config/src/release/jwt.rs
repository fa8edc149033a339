//! A user's id in a JSON Web Token (RFC 7519).

/// A claim of a token that the request brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtKey {
    /// The claim, a text or a whole number. Default `sub`.
    pub claim: String,
    /// Where the token is.
    pub from: JwtFrom,
}

/// Where a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwtFrom {
    /// In this header field, in lower case, after `Bearer ` if that is there. Default
    /// `authorization`.
    Header(String),
    /// In this cookie.
    Cookie(String),
}

impl JwtKey {
    /// The claim in `token`; `None` if it is no token, has no such claim, or is not signed with
    /// the key it must be signed with.
    #[must_use]
    pub fn id(&self, _token: &[u8]) -> Option<String> {
        None
    }
}
