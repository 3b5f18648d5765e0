//! Reads one YAML file into a settings type, and says what is wrong with it in all the detail there is.
//!
//! The file is read twice: once as a plain tree that remembers where everything stands, once into the type. The parser's own
//! positions are good for syntax; for everything else the path of keys is looked up in the tree, so that checks made after
//! reading can point as exactly as the parser does. The YAML crate is named in this file only.
//! Absent on purpose: `yes`/`no` as booleans, merge keys and every tag that makes something run or be read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Error, Location, Options, Spanned};
use sha2::{Digest, Sha256};

use super::problem::{Place, Problem};
use super::words;

/// The largest file that is read.
const MOST_BYTES: u64 = 1 << 20;

/// One file, parsed as YAML.
#[derive(Debug)]
pub struct Source {
    file: PathBuf,
    text: String,
    places: BTreeMap<String, Found>,
    /// Keys of the root with their places, in the order of the file.
    roots: Vec<(String, Place)>,
}

/// Where something stands, and what, if it is plain text.
#[derive(Debug)]
struct Found {
    key: Option<Place>,
    value: Option<Place>,
    text: Option<String>,
}

impl Source {
    /// Reads a file and parses it as YAML, whatever it says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(file: &Path) -> Result<Self, Vec<Problem>> {
        Self::unparsed(file)?.parsed()
    }

    /// Reads a file only: enough to see whether it is the same as before.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn unparsed(file: &Path) -> Result<Self, Vec<Problem>> {
        let wrong = |message: &str, hint: &str| vec![Problem::of_file(file, message, hint)];
        let cannot = |error: std::io::Error| {
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let hint = if missing { "look whether the path is right" } else { "look at its permissions" };
            wrong(&format!("cannot be read: {error}"), hint)
        };
        let meta = std::fs::metadata(file).map_err(cannot)?;
        if !meta.is_file() {
            return Err(wrong("is not a file", "give the path of a YAML file"));
        }
        if meta.len() > MOST_BYTES {
            return Err(wrong("is larger than 1 MiB", "settings are small: look whether this is the right file"));
        }
        let bytes = std::fs::read(file).map_err(cannot)?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8 text", "save it as UTF-8"))?;
        Ok(Self { file: file.to_owned(), text, places: BTreeMap::new(), roots: Vec::new() })
    }

    pub(super) fn parsed(self) -> Result<Self, Vec<Problem>> {
        let mut source = self;
        match serde_saphyr::from_str_with_options::<Spanned<Node>>(&source.text, options()) {
            Ok(root) => {
                if let Node::Map(entries) = &root.value {
                    source.roots =
                        entries.iter().filter_map(|(key, _)| Some((key.value.clone(), place(key.referenced)?))).collect();
                }
                source.note(String::new(), None, &root);
                Ok(source)
            }
            Err(error) => Err(vec![source.explain(&error, "")]),
        }
    }

    fn note(&mut self, path: String, key: Option<Place>, node: &Spanned<Node>) {
        let text = if let Node::Leaf(text) = &node.value { text.clone() } else { None };
        match &node.value {
            Node::Leaf(_) => {}
            Node::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.note(format!("{path}[{i}]"), None, item);
                }
            }
            Node::Map(entries) => {
                for (key, value) in entries {
                    self.note(join(&path, &key.value), place(key.referenced), value);
                }
            }
        }
        self.places.insert(path, Found { key, value: place(node.referenced), text });
    }

    /// Reads it into a type. After a mistake below one key of the root the other keys are read all the same.
    ///
    /// # Errors
    /// At least one problem, in the order of the file.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Vec<Problem>> {
        let mut text = self.text.clone();
        let mut blanked: Vec<String> = Vec::new();
        let mut problems = Vec::new();
        loop {
            let (error, path) = match read_text::<T>(&text) {
                Ok(value) if problems.is_empty() => return Ok(value),
                Ok(_) => break,
                Err(failed) => *failed,
            };
            if matches!(&error, Error::SerdeMissingField { field, .. } if path.is_empty() && blanked.iter().any(|b| b == field)) {
                break;
            }
            let problem = self.explain(&error, &path);
            // An alias whose anchor was blanked is not the author's mistake.
            if !problems.is_empty() && problem.path.is_empty() && !matches!(error, Error::SerdeMissingField { .. }) {
                break;
            }
            let root = problem.path.split(['.', '[']).next().unwrap_or_default().to_owned();
            problems.push(problem);
            match self.without(&text, &root) {
                Some(rest) if !blanked.contains(&root) => text = rest,
                _ => break,
            }
            blanked.push(root);
        }
        problems.sort_by_key(|problem| problem.place);
        Err(problems)
    }

    /// The text with the lines of one key of the root emptied; `None` where a key does not begin a line of its own.
    fn without(&self, text: &str, root: &str) -> Option<String> {
        let at = self.roots.iter().position(|(name, _)| name == root)?;
        if !self.roots.is_sorted_by(|(_, a), (_, b)| a.line < b.line && a.column == b.column) {
            return None;
        }
        let from = self.roots[at].1.line;
        let to = self.roots.get(at + 1).map_or(usize::MAX, |(_, place)| place.line);
        let keep = |(i, line): (usize, &str)| if (from..to).contains(&(i + 1)) { "\n".to_owned() } else { format!("{line}\n") };
        let rest: String = text.lines().enumerate().map(keep).collect();
        // Nothing left is an empty mapping, which YAML cannot say with nothing.
        Some(if rest.lines().all(|line| line.trim().is_empty()) { "{}".to_owned() } else { rest })
    }

    /// Something wrong with what stands at this path of keys.
    pub fn problem(&self, path: &str, message: impl Into<String>, hint: impl Into<String>) -> Problem {
        self.at(path, self.value_place(path), message.into(), Some(hint.into()))
    }

    /// SHA-256 of the whole text, in hex.
    pub fn digest(&self) -> String {
        Sha256::digest(self.text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The text that stands at this path, if it is plain text.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.places.get(path)?.text.as_deref()
    }

    /// The line of what stands at this path, counted from 1.
    pub fn line(&self, path: &str) -> Option<usize> {
        self.value_place(path).map(|place| place.line)
    }

    /// Which file this is.
    pub fn file(&self) -> &Path {
        &self.file
    }

    fn at(&self, path: &str, place: Option<Place>, message: String, hint: Option<String>) -> Problem {
        let line = place.and_then(|place| self.text.lines().nth(place.line - 1)).map(str::to_owned);
        Problem { file: self.file.clone(), place, line, path: path.to_owned(), message, hint }
    }

    /// Where the value at this path stands, or else the nearest thing around it.
    fn value_place(&self, path: &str) -> Option<Place> {
        let mut path = path;
        loop {
            if let Some(found) = self.places.get(path) {
                return found.value.or(found.key);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// Puts the parser's error into our words.
    fn explain(&self, error: &Error, path: &str) -> Problem {
        let said = words::of(error);
        let own = error.location().and_then(place);
        match &said.about {
            // The path names the mapping around it, or already the key itself.
            words::About::Key(key) => {
                let inner = join(path, key);
                let path = if self.places.contains_key(&inner) { inner } else { path.to_owned() };
                let place = self.places.get(&path).and_then(|found| found.key).or(own);
                self.at(&path, place, said.message, said.hint)
            }
            words::About::Value if self.places.contains_key(path) => {
                self.at(path, self.value_place(path), said.message, said.hint)
            }
            words::About::Value | words::About::Syntax => self.at(path, own, said.message, said.hint),
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn place(location: Location) -> Option<Place> {
    let place = Place { line: usize::try_from(location.line()).ok()?, column: usize::try_from(location.column()).ok()? };
    (place.line > 0 && place.column > 0).then_some(place)
}

fn options() -> Options {
    serde_saphyr::options! {
        strict_booleans: true,
        strict_indentation: true,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        with_snippet: false,
    }
}

fn read_text<T: DeserializeOwned>(text: &str) -> Result<T, Box<(Error, String)>> {
    let mut path = String::new();
    serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
        serde_path_to_error::deserialize(deserializer).map_err(|error: serde_path_to_error::Error<Error>| {
            path = error.path().to_string();
            error.into_inner()
        })
    })
    // A problem of the whole file has no path.
    .map_err(|error| Box::new((error, if path == "." { String::new() } else { path })))
}

/// Any YAML, with the places of all of it.
#[derive(Debug)]
enum Node {
    Leaf(Option<String>),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("YAML")
            }
            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Leaf(Some(text.to_owned())))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Leaf(None))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
                Ok(Node::Leaf(None))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
                Ok(Node::Leaf(None))
            }
            fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
                Ok(Node::Leaf(None))
            }
            fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
                Ok(Node::Leaf(None))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Leaf(None))
            }
            fn visit_bytes<E>(self, _: &[u8]) -> Result<Node, E> {
                Ok(Node::Leaf(None))
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Leaf(None))
            }
            fn visit_none<E>(self) -> Result<Node, E> {
                Ok(Node::Leaf(None))
            }
            fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Node, D::Error> {
                Node::deserialize(inner)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Node::Map(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
