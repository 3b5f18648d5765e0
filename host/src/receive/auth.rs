//! Who may send alerts, and read what Paramedic sees: whoever knows the token in a file.
//!
//! The token can post alerts and read `/metrics` and `/api/v1`; nothing can be moved with it beyond that. The file is read again
//! when it changes, so that a token is renewed without a restart. Absent on purpose: tokens in settings or arguments, where
//! `ps` and version control would show them, and more than one role.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use subtle::ConstantTimeEq as _;

/// The shortest token that is accepted, in bytes.
const SHORTEST: usize = 16;
/// The largest token file that is read, in bytes.
const LARGEST: u64 = 4096;

/// Who may send alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A file that holds the token and nothing else but white space around it.
    pub token_file: Option<PathBuf>,
    /// Listen beyond loopback without a token all the same.
    pub allow_unauthenticated: bool,
}

/// Why the token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The file cannot be read.
    #[error("the token file {} cannot be read: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// What it holds is no token.
    #[error("the token file {} {what}: write one line of at least 16 letters, digits or punctuation, such as `openssl rand -hex 32` prints", path.display())]
    NoToken {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// What tells that a file is another than the one that was read: device, inode, size and time of change in nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

/// The gate in front of the doors.
#[derive(Debug)]
pub enum Gate {
    /// Everybody may send.
    Open,
    /// Whoever knows what is in this file.
    Token {
        /// The file.
        path: PathBuf,
        /// What was last read from it.
        read: Mutex<(Stamp, Vec<u8>)>,
    },
}

impl Gate {
    /// A gate by these settings; reads the token.
    ///
    /// # Errors
    /// When there should be a token and is none.
    pub fn new(settings: &Settings) -> Result<Self, AuthError> {
        let Some(path) = settings.token_file.clone() else { return Ok(Self::Open) };
        let read = Mutex::new(read_token(&path)?);
        Ok(Self::Token { path, read })
    }

    /// May somebody who sends this `Authorization` header post alerts? `Bearer token` and `Basic name:token` are understood.
    ///
    /// # Errors
    /// When the file cannot be read any more: nobody may then, and it is not the sender's fault.
    pub fn admits(&self, authorization: Option<&[u8]>) -> Result<bool, AuthError> {
        let Self::Token { path, read } = self else { return Ok(true) };
        let Some(given) = authorization.and_then(credential) else { return Ok(false) };
        let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
        // One stat a message is cheap; the whole file is read only when it is another.
        if stamp(path)? != read.0 {
            *read = read_token(path)?;
            tracing::info!(file = %path.display(), "the senders' token was read again");
        }
        // Of unequal lengths only the length is learnt.
        Ok(bool::from(given.ct_eq(&read.1)))
    }
}

fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> AuthError {
    move |source| AuthError::Unreadable { path: path.to_owned(), source }
}

fn stamp(path: &Path) -> Result<Stamp, AuthError> {
    let meta = std::fs::metadata(path).map_err(unreadable(path))?;
    Ok((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
}

fn read_token(path: &Path) -> Result<(Stamp, Vec<u8>), AuthError> {
    let wrong = |what| AuthError::NoToken { path: path.to_owned(), what };
    // The stamp first: a file that changes in between is read once more, never once too few.
    let stamp = stamp(path)?;
    if stamp.2 > LARGEST {
        return Err(wrong("is larger than 4096 bytes"));
    }
    let bytes = std::fs::read(path).map_err(unreadable(path))?;
    let token = bytes.trim_ascii();
    if token.len() < SHORTEST {
        return Err(wrong("holds fewer than 16 characters"));
    }
    if !token.iter().all(u8::is_ascii_graphic) {
        return Err(wrong("holds white space or characters beyond ASCII"));
    }
    Ok((stamp, token.to_owned()))
}

/// The secret half of an `Authorization` header.
fn credential(header: &[u8]) -> Option<Vec<u8>> {
    let header = header.trim_ascii();
    let space = header.iter().position(|b| *b == b' ')?;
    let (scheme, rest) = (&header[..space], header[space..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(rest.to_owned());
    }
    if scheme.eq_ignore_ascii_case(b"basic") {
        let pair = base64(rest)?;
        let colon = pair.iter().position(|b| *b == b':')?;
        return Some(pair[colon + 1..].to_owned());
    }
    None
}

/// Decodes standard base64 with or without padding; `None` for anything else.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        if group.len() == 1 {
            return None;
        }
        let mut bits = 0u32;
        for byte in group {
            let six = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(six);
        }
        let bytes = (bits << (6 * (4 - group.len()))).to_be_bytes();
        out.extend_from_slice(bytes.get(1..group.len())?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn gate(text: &str) -> (tempfile::TempDir, Result<Gate, AuthError>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, text).unwrap();
        let gate = Gate::new(&Settings { token_file: Some(path), allow_unauthenticated: false });
        (folder, gate)
    }

    #[test]
    fn only_the_token_opens_it() {
        let (_folder, gate) = gate(&format!("{TOKEN}\n"));
        let gate = gate.unwrap();
        let admits = |header: &str| gate.admits(Some(header.as_bytes())).unwrap();
        assert!(admits("Bearer 0123456789abcdef"));
        assert!(admits("bearer  0123456789abcdef "));
        // printf 'x:0123456789abcdef' | base64
        assert!(admits("Basic eDowMTIzNDU2Nzg5YWJjZGVm"));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcdef0",
            "Token 0123456789abcdef",
            "Basic !!!",
            "Basic eDo=",
            TOKEN,
        ] {
            assert!(!admits(wrong), "{wrong}");
        }
        assert!(!gate.admits(None).unwrap());
        assert!(!gate.admits(Some(&[0xff, b' ', 0xff])).unwrap());
    }

    #[test]
    fn a_new_token_counts_at_once_and_a_lost_file_admits_nobody() {
        let (folder, gate) = gate(TOKEN);
        let gate = gate.unwrap();
        let path = folder.path().join("token");
        std::fs::write(folder.path().join("new"), "fedcba9876543210").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(!gate.admits(Some(b"Bearer 0123456789abcdef")).unwrap());
        assert!(gate.admits(Some(b"Bearer fedcba9876543210")).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(gate.admits(Some(b"Bearer fedcba9876543210")).is_err());
    }

    #[test]
    fn what_is_no_token_is_refused_at_the_start() {
        for (text, part) in
            [("", "fewer"), ("short\n", "fewer"), ("two words of a token", "white space"), (&"x".repeat(5000), "larger")]
        {
            assert!(gate(text).1.unwrap_err().to_string().contains(part), "{text}");
        }
        let missing = Settings { token_file: Some("/does/not/exist".into()), allow_unauthenticated: false };
        assert!(Gate::new(&missing).unwrap_err().to_string().contains("cannot be read"));
        assert!(Gate::new(&Settings::default()).unwrap().admits(None).unwrap());
    }

    #[test]
    fn base64_is_read_as_others_write_it() {
        for (text, wanted) in [
            ("", Some("")),
            ("YQ==", Some("a")),
            ("YWI=", Some("ab")),
            ("YWJj", Some("abc")),
            ("YWJjZA", Some("abcd")),
            ("Y", None),
            ("Y Q=", None),
        ] {
            assert_eq!(base64(text.as_bytes()), wanted.map(|w| w.as_bytes().to_owned()), "{text}");
        }
    }
}
