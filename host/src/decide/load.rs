//! From a file to a plugin that can be asked: every way in which a file is not a plugin is told apart, with what to do.
//!
//! Plugin authors meet Paramedic here first, so the refusals are part of the product. The order is: the bytes, the compiler, what
//! it imports and exports, a trial run of `describe`, what that says.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use sha2::{Digest, Sha256};
use wasmtime::component::{Component, InstancePre};
use wasmtime::{Engine, Store};

use super::bindings::{INTERFACES, PolicyPre, RawManifest};
use super::file::Unreadable;
use super::guest::Guest;
use super::plugin::{GRACE, Manifest, Plugin, explain, is_plugins_own, with_last_words};
use super::question::Failure;
use super::sandbox::{Limits, MAX_MEMORIES, MAX_MEMORY, MAX_TABLES, Sandbox};
use super::{schema, shapes, wasi};
use crate::action::Kind;
use crate::incident::lookup::Lookup;
use crate::telemetry::clean;

/// The largest file that is looked at; Python plugins have 18 MB.
pub(super) const MAX_FILE_BYTES: usize = 64 << 20;
/// Bytes of a component's header.
const HEADER: usize = 8;
/// The kind of section that holds a component in a component.
const NESTED: u8 = 4;
/// How deep components may lie in one another; toolchains make two.
const MAX_NESTED: usize = 16;
/// Names of forbidden imports that are shown.
const MAX_SHOWN: usize = 6;
/// What `describe` and `check` may use. More than a decision: an interpreter's first start reads all its pages.
pub(super) const AT_LOAD: Limits = Limits { deadline: Duration::from_secs(5), memory: MAX_MEMORY, lookups: Duration::ZERO };
/// The contract that is spoken here; same major version, any minor one.
pub(super) const CONTRACT: &str = "paramedic:policy";
/// Its version.
pub const CONTRACT_VERSION: &str = "1.0.0";

/// Why a file cannot be used as a plugin.
#[derive(Debug, thiserror::Error)]
#[error("plugin {file}: {problem}")]
pub struct PluginError {
    /// The file's name.
    pub file: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a file that should be a plugin. Each text ends with what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Not even a file, or not for us.
    #[error("{0}")]
    Unreadable(#[source] Unreadable),
    /// Nothing in it.
    #[error("the file is empty; build the plugin again")]
    Empty,
    /// Not looked at.
    #[error("the file has {0} MiB, more than the {max} MiB that a plugin may have; build it optimised and stripped", max = MAX_FILE_BYTES >> 20)]
    TooLarge(usize),
    /// Something else altogether.
    #[error("this is {0}, not WebAssembly; give the .wasm file that `paramedic policy build` or your compiler has written")]
    NotWasm(&'static str),
    /// The wrong target.
    #[error(
        "this is a core WebAssembly module, not a component; build it with `paramedic policy build`, or in Rust for the target wasm32-wasip2"
    )]
    CoreModule,
    /// A version of the format from before or after.
    #[error("this is WebAssembly of a format that is not known here; build it for the target wasm32-wasip2")]
    UnknownFormat,
    /// Cut off.
    #[error("the file ends in the middle: {have} bytes are there, and at least {want} belong to it; copy or build it again")]
    Truncated {
        /// How many bytes there are.
        have: usize,
        /// How many there should be at least.
        want: usize,
    },
    /// Damaged, or it uses what is switched off.
    #[error("it cannot be compiled: {0}; build it again for the target wasm32-wasip2, without optional WebAssembly features")]
    Invalid(String),
    /// The compiler takes too long.
    #[error("compiling it takes longer than {} s; make it smaller", .0.as_secs())]
    TooSlow(Duration),
    /// The compiler takes too much.
    #[error("compiling it takes more than {} MiB of memory; make it smaller", .0 >> 20)]
    TooHungry(u64),
    /// There is no process, or no way to talk to it.
    #[error("the compiler cannot be started: {0}; is the number of processes limited, or the memory?")]
    NoCompiler(String),
    /// Others are being compiled, and do not end.
    #[error(
        "it was not compiled: other plugins have kept the compilers busy for {} s; take away those that take so long, and load it again", .0.as_secs()
    )]
    CompilersBusy(Duration),
    /// It wants the outside world.
    #[error("it imports {imports}; a policy gets no {powers}: {advice}")]
    Forbidden {
        /// Their names.
        imports: String,
        /// What they would give, in the words of their users.
        powers: String,
        /// What to do.
        advice: &'static str,
    },
    /// It wants an interface that nobody here has.
    #[error(
        "it imports {0}, which is not part of the contract {CONTRACT}@{CONTRACT_VERSION}; if it is made for a newer Paramedic, update this one, else build it with the WIT files of this one"
    )]
    UnknownImport(String),
    /// It wants somebody else's interface.
    #[error(
        "it imports {0}, which Paramedic does not have: remove what uses it; a policy imports nothing but interfaces of {CONTRACT}@{CONTRACT_VERSION}"
    )]
    Stranger(String),
    /// Built for another contract.
    #[error("it was built for {0}, and here {CONTRACT}@{CONTRACT_VERSION} is spoken; build it with the SDK of this version")]
    WrongVersion(String),
    /// It does not do what a plugin has to do.
    #[error(
        "it does not export {0}; a plugin implements the world `policy` of {CONTRACT}@{CONTRACT_VERSION}: build it with an SDK"
    )]
    MissingExport(String),
    /// The right names with other shapes.
    #[error("its types are not those of {CONTRACT}@{CONTRACT_VERSION}: {0}; build it with the contract's unchanged WIT files")]
    WrongType(String),
    /// More memories, tables or instances than a sandbox has.
    #[error("it does not fit into a sandbox: {0}; build it with fewer parts or less memory")]
    DoesNotFit(String),
    /// It cannot even say who it is.
    #[error("asked to describe itself, it failed: {}; `describe` must not depend on anything", plainly(.0))]
    Describe(Failure),
    /// It has no name or no version.
    #[error("its description has no {0}; a plugin names itself in `describe`")]
    Nameless(&'static str),
    /// It claims to do what nobody can.
    #[error("it declares the action `{0}`, which does not exist; these do: {1}")]
    UnknownAction(String, String),
    /// It claims to look at what nobody can.
    #[error("it declares the lookup `{0}`, which does not exist; these do: {1}")]
    UnknownLookup(String, String),
    /// Its schema is of no use.
    #[error("its settings schema cannot be used: {0}; `describe` gives JSON Schema, draft-07 or 2020-12, or an empty text")]
    BrokenSchema(String),
}

/// The limits of `describe` and `check` are fixed: no setting of a policy would change them.
pub(super) fn plainly(failure: &Failure) -> String {
    let said = failure.to_string();
    said.split(", the policy's `limits.").next().unwrap_or(&said).to_owned()
}

impl Sandbox {
    /// Makes a plugin of a file's bytes: compiles it (or takes the compiled code from the cache), checks its imports and exports,
    /// and lets it describe itself once. Loading the same bytes again while the plugin is in use gives the same plugin.
    ///
    /// # Errors
    /// When the file is no plugin; the text says what is wrong and what to do.
    pub async fn load(self: &Arc<Self>, file_name: &str, bytes: &[u8]) -> Result<Arc<Plugin>, PluginError> {
        self.try_load(bytes).await.map_err(|problem| PluginError { file: clean(file_name, 200), problem })
    }

    async fn try_load(self: &Arc<Self>, bytes: &[u8]) -> Result<Arc<Plugin>, Problem> {
        look_at(bytes)?;
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if let Some(plugin) = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).and_then(|p| p.upgrade()) {
            return Ok(plugin);
        }
        let component = self.compiler.compile(&self.engine, bytes, &digest).await?;
        let imports = self.check_interfaces(&component).map_err(|problem| advised(problem, bytes))?;
        check_size(&component)?;
        let told = |problem| in_words_of_the_contract(problem, &component, &self.engine);
        let pre = self.linker.instantiate_pre(&component).map_err(|error| Problem::WrongType(sentence(&error)));
        let pre = pre.and_then(policy).map_err(told)?;
        let (manifest, schema) = read(self.describe(&pre).await.map_err(told)?)?;
        let size = bytes.len();
        let plugin = Arc::new(Plugin {
            sandbox: self.clone(),
            pre,
            digest: digest.clone(),
            size,
            imports,
            manifest,
            schema: schema.map(Arc::new),
        });
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|_, plugin| plugin.strong_count() > 0);
        loaded.insert(digest, Arc::downgrade(&plugin));
        Ok(plugin)
    }

    fn check_interfaces(&self, component: &Component) -> Result<Vec<String>, Problem> {
        let ty = component.component_type();
        let mut imports: Vec<_> = ty.imports(&self.engine).map(|(name, _)| clean(name, 200)).collect();
        imports.sort();
        check_imports(&imports)?;
        let exports: Vec<_> = ty.exports(&self.engine).map(|(name, _)| name.to_owned()).collect();
        check_exports(&exports)?;
        Ok(imports)
    }

    async fn describe(&self, pre: &PolicyPre<Guest>) -> Result<RawManifest, Problem> {
        let pre = pre.clone();
        let run = move |mut store: Store<Guest>| {
            async move {
                // Where types do not match, it shows only now.
                let described = match pre.instantiate_async(&mut store).await {
                    Ok(policy) => policy
                        .paramedic_policy_lifecycle()
                        .call_describe(&mut store)
                        .await
                        .map_err(|error| Problem::Describe(explain(&error, store.data()))),
                    Err(error) => Err(not_started(&error, store.data())),
                };
                described.map_err(|problem| match problem {
                    Problem::Describe(failure) => Problem::Describe(with_last_words(failure, &store.data().notes.take())),
                    other => other,
                })
            }
            .boxed()
        };
        self.at_load(run).await.unwrap_or_else(|failure| Err(Problem::Describe(failure)))
    }

    /// What a plugin does while it is loaded, in a sandbox of its own. It may have much memory and time, so it begins in the slow lane.
    pub(super) async fn at_load<T: Send + 'static>(
        &self,
        run: impl FnOnce(Store<Guest>) -> BoxFuture<'static, T> + Send,
    ) -> Result<T, Failure> {
        let Some(place) = self.place(AT_LOAD.deadline).await else { return Err(Failure::Busy(AT_LOAD.deadline)) };
        let store = self.store(None, &[], &AT_LOAD);
        let slow = store.data().slow.clone();
        let _first = slow.set(tokio::runtime::Handle::current());
        let work = run(store);
        // The place is free again when the sandbox is gone, even if nobody waits for it any longer.
        let work = async move { (work.await, place).0 }.boxed();
        match tokio::time::timeout(AT_LOAD.deadline + GRACE, self.slow_lane.run(&slow, work)).await {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(Failure::NoSandbox("its thread crashed".to_owned())),
            Err(_) => Err(Failure::Deadline(AT_LOAD.deadline)),
        }
    }
}

/// What the first bytes say.
fn look_at(bytes: &[u8]) -> Result<(), Problem> {
    match bytes {
        [] => Err(Problem::Empty),
        _ if bytes.len() > MAX_FILE_BYTES => Err(Problem::TooLarge(bytes.len() >> 20)),
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, sections @ ..] => whole(sections),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(Problem::CoreModule),
        [0, b'a', b's', b'm', _, _, _, _, ..] => Err(Problem::UnknownFormat),
        [0, b'a', b's', b'm', ..] => Err(Problem::Truncated { have: bytes.len(), want: HEADER }),
        [0x7f, b'E', b'L', b'F', ..] => Err(Problem::NotWasm("a native program or compiled code")),
        [0x1f, 0x8b, ..] | [b'P', b'K', ..] => Err(Problem::NotWasm("a compressed archive")),
        _ if std::str::from_utf8(&bytes[..bytes.len().min(64)]).is_ok_and(|t| !t.contains('\0')) => Err(Problem::NotWasm("text")),
        _ => Err(Problem::NotWasm("some other binary")),
    }
}

/// Walks over the outermost sections (a byte of kind, the length in LEB128, the content): a compiler tells a file that was cut
/// off in many ways, and none of them says so.
fn whole(sections: &[u8]) -> Result<(), Problem> {
    let mut rest = sections;
    while let [kind, after @ ..] = rest {
        let (digits, number) = length(after);
        let content = after.get(digits..).and_then(|content| content.get(..number));
        let Some(content) = content else {
            let have = HEADER + sections.len();
            return Err(Problem::Truncated { have, want: have - after.len() + digits + number });
        };
        if *kind == NESTED && deeper_than(MAX_NESTED, content) {
            return Err(Problem::DoesNotFit(format!("its components are nested more than {MAX_NESTED} deep")));
        }
        rest = &after[digits + number..];
    }
    Ok(())
}

/// Whether a component has others in it, and these others in them, beyond that depth: a compiler needs its stack for each.
fn deeper_than(depth: usize, component: &[u8]) -> bool {
    let Some(next) = depth.checked_sub(1) else { return true };
    let mut rest = component.get(HEADER..).unwrap_or_default();
    while let [kind, after @ ..] = rest {
        let (digits, number) = length(after);
        let Some(content) = after.get(digits..).and_then(|content| content.get(..number)) else { return false };
        if *kind == NESTED && deeper_than(next, content) {
            return true;
        }
        rest = &after[digits + number..];
    }
    false
}

/// A section's length, and how many bytes it is written in.
fn length(bytes: &[u8]) -> (usize, usize) {
    let digits = bytes.iter().take(5).position(|byte| byte & 0x80 == 0).unwrap_or(4) + 1;
    (digits, bytes.iter().take(digits).rev().fold(0_usize, |sum, byte| sum << 7 | usize::from(byte & 0x7f)))
}

fn check_imports(imports: &[String]) -> Result<(), Problem> {
    let mut forbidden = Vec::new();
    for import in imports {
        let (interface, version) = import.split_once('@').unwrap_or((import, ""));
        match interface.split_once('/') {
            Some((CONTRACT, _)) if major(version) != major(CONTRACT_VERSION) => {
                return Err(Problem::WrongVersion(import.clone()));
            }
            Some((CONTRACT, name)) if INTERFACES.contains(&name) => {}
            Some((package, _)) if package.starts_with("wasi:") => {
                if !wasi::LINKED.contains(&interface) || !version.starts_with("0.2.") {
                    forbidden.push(import.as_str());
                }
            }
            Some((CONTRACT, _)) => return Err(Problem::UnknownImport(import.clone())),
            _ => return Err(Problem::Stranger(import.clone())),
        }
    }
    if forbidden.is_empty() {
        return Ok(());
    }
    let mut what: Vec<_> = forbidden.iter().map(|interface| meaning(interface)).collect();
    what.sort_unstable();
    what.dedup();
    let more = forbidden.len().saturating_sub(MAX_SHOWN);
    forbidden.truncate(MAX_SHOWN);
    let named = forbidden.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() };
    Err(Problem::Forbidden { imports: named, powers: what.join(", no "), advice: ADVICE })
}

/// What to do about a forbidden import whose origin is not known.
const ADVICE: &str =
    "remove what uses it; the time is `incident.now`, and what may be looked at are `containers`, `metrics` and `history`";

/// What tools leave in what they make, and what to do when they have let a language's whole runtime in: then the author uses nothing forbidden.
const TOOLS: [(&str, &str); 4] = [
    (
        "componentize-py",
        "Python's runtime wants that unless componentize-py is told `--stub-wasi`; build it with `paramedic policy build`, or add that flag",
    ),
    (
        "componentize-qjs",
        "the JavaScript runtime wants that unless componentize-qjs is told `stubWasi: true` (`--stub-wasi`); build it with `paramedic policy build`, or add that flag",
    ),
    (
        "ComponentizeJS",
        "the JavaScript runtime wants that unless `jco componentize` is told `--disable all`; build it with `paramedic policy build`, or add that flag",
    ),
    (
        "StarlingMonkey",
        "the JavaScript runtime wants that unless `jco componentize` is told `--disable all`; build it with `paramedic policy build`, or add that flag",
    ),
];

fn advised(problem: Problem, bytes: &[u8]) -> Problem {
    let Problem::Forbidden { imports, powers, .. } = problem else { return problem };
    let made_by = |(mark, _): &&(&str, &str)| bytes.windows(mark.len()).any(|part| part == mark.as_bytes());
    let advice = TOOLS.iter().find(made_by).map_or(ADVICE, |(_, advice)| advice);
    Problem::Forbidden { imports, powers, advice }
}

/// What a WASI interface gives, in the words of its users.
fn meaning(interface: &str) -> &'static str {
    match interface.split(['/', '@']).next() {
        Some("wasi:filesystem") => "files",
        Some("wasi:sockets" | "wasi:http") => "network",
        Some("wasi:clocks") => "clock",
        Some("wasi:random") => "randomness",
        _ => "such part of WASI",
    }
}

fn check_exports(exports: &[String]) -> Result<(), Problem> {
    for interface in ["handler", "lifecycle"] {
        let name = format!("{CONTRACT}/{interface}");
        let of_that_name = exports.iter().filter_map(|e| e.strip_prefix(&name)?.strip_prefix('@').map(|version| (e, version)));
        match of_that_name.clone().find(|(_, version)| major(version) == major(CONTRACT_VERSION)) {
            Some(_) => {}
            None => {
                let other = of_that_name.map(|(export, _)| Problem::WrongVersion(clean(export, 200))).next();
                return Err(other.unwrap_or_else(|| Problem::MissingExport(format!("{name}@{CONTRACT_VERSION}"))));
            }
        }
    }
    Ok(())
}

fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

/// What the pool could never hold is refused now rather than at the first alert.
fn check_size(component: &Component) -> Result<(), Problem> {
    let Some(needs) = component.resources_required() else {
        return Err(Problem::DoesNotFit("it imports core modules".to_owned()));
    };
    let pages = needs.max_initial_memory_size.unwrap_or(0);
    let parts = [
        (u64::from(needs.num_memories), u64::from(MAX_MEMORIES), "memories"),
        (u64::from(needs.num_tables), u64::from(MAX_TABLES), "tables"),
        (pages, MAX_MEMORY >> 16, "pages of memory at its start"),
    ];
    match parts.into_iter().find(|(wanted, most, _)| wanted > most) {
        Some((wanted, most, what)) => Err(Problem::DoesNotFit(format!("it wants {wanted} {what}, and {most} are allowed"))),
        None => Ok(()),
    }
}

/// Which types differ, where it can be told; the engine's own words are for those who know its inside.
fn in_words_of_the_contract(problem: Problem, component: &Component, engine: &Engine) -> Problem {
    match problem {
        Problem::WrongType(text) => shapes::difference(&component.component_type(), engine).unwrap_or(Problem::WrongType(text)),
        other => other,
    }
}

fn policy(pre: InstancePre<Guest>) -> Result<PolicyPre<Guest>, Problem> {
    PolicyPre::new(pre).map_err(|error| Problem::WrongType(sentence(&error)))
}

fn not_started(error: &wasmtime::Error, guest: &Guest) -> Problem {
    if is_plugins_own(error, guest) {
        return Problem::Describe(explain(error, guest));
    }
    let text = sentence(error);
    if text.contains("limit") || text.contains("exceed") { Problem::DoesNotFit(text) } else { Problem::WrongType(text) }
}

/// Checks, cleans and bounds what a plugin says about itself.
fn read(raw: RawManifest) -> Result<(Manifest, Option<jsonschema::Validator>), Problem> {
    let name = clean(raw.name.trim(), 64);
    let version = clean(raw.version.trim(), 64);
    if name.is_empty() {
        return Err(Problem::Nameless("name"));
    }
    if version.is_empty() {
        return Err(Problem::Nameless("version"));
    }
    let mut actions = raw.actions.iter().map(|word| kind(word)).collect::<Result<Vec<_>, _>>()?;
    actions.sort_unstable();
    actions.dedup();
    let mut lookups = raw.lookups.iter().map(|word| lookup(word)).collect::<Result<Vec<_>, _>>()?;
    lookups.sort_unstable();
    lookups.dedup();
    let (settings_schema, validator) = schema::read(&raw.settings_schema).map_err(Problem::BrokenSchema)?.unzip();
    let description = clean(raw.description.trim(), 300);
    Ok((Manifest { name, version, description, actions, lookups, settings_schema }, validator))
}

fn kind(word: &str) -> Result<Kind, Problem> {
    let unknown = || Problem::UnknownAction(clean(word, 64), Kind::ALL.map(Kind::word).join(", "));
    Kind::ALL.into_iter().find(|kind| kind.word() == word).ok_or_else(unknown)
}

fn lookup(word: &str) -> Result<&'static str, Problem> {
    let unknown = || Problem::UnknownLookup(clean(word, 64), Lookup::WORDS.join(", "));
    Lookup::WORDS.into_iter().find(|known| *known == word).ok_or_else(unknown)
}

fn sentence(error: &wasmtime::Error) -> String {
    clean(&format!("{error:#}"), 500)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn raw(actions: &[&str], schema: &str) -> RawManifest {
        RawManifest {
            name: " nginx\u{1b}[31m".into(),
            version: "1.2.3".into(),
            description: "Heals\nthings".into(),
            actions: actions.iter().map(|a| (*a).to_owned()).collect(),
            lookups: vec!["metrics".to_owned()],
            settings_schema: schema.into(),
            extra: Vec::new(),
        }
    }

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn what_is_no_plugin_is_told_apart_by_its_first_bytes() {
        let said = |bytes: &[u8]| look_at(bytes).unwrap_err().to_string();
        assert!(said(b"").contains("empty"));
        assert!(said(b"<!DOCTYPE html>").contains("this is text"));
        assert!(said("(component)".as_bytes()).contains("this is text"));
        assert!(said(b"\x7fELF\x02\x01").contains("native program"));
        assert!(said(b"PK\x03\x04").contains("archive"));
        assert!(said(b"\x89PNG\0\0").contains("other binary"));
        assert!(said(b"\0asm\x01\0\0\0").contains("wasm32-wasip2"));
        assert!(said(b"\0asm\x02\0\0\0").contains("format"));
        assert!(said(b"\0asm").contains("4 bytes are there, and at least 8 belong to it"));
        assert!(look_at(b"\0asm\x0d\0\x01\0").is_ok());
    }

    #[test]
    fn a_file_that_was_cut_off_is_seen_by_its_sections() {
        let two = [&b"\0asm\x0d\0\x01\0\x00\x03abc\x01\x80\x01"[..], &[7; 128]].concat();
        assert!(look_at(&two).is_ok());
        for length in 8..two.len() {
            let seen = look_at(&two[..length]);
            let at_boundary = length == 8 || length == 13;
            assert_eq!(seen.is_ok(), at_boundary, "{length}: {seen:?}");
        }
        let said = look_at(&two[..20]).unwrap_err().to_string();
        assert!(said.contains("20 bytes are there, and at least 144 belong to it"), "{said}");
        assert!(look_at(b"\0asm\x0d\0\x01\0\x00\xff\xff\xff\xff\xff").is_err());
    }

    #[test]
    fn an_import_is_allowed_forbidden_or_unknown() {
        let check = |names: &[&str]| check_imports(&strings(names)).map_err(|e| e.to_string());
        assert_eq!(check(&["paramedic:policy/incident@1.3.0", "wasi:cli/exit@0.2.6", "wasi:io/poll@0.2.12"]), Ok(()));
        let files = check(&["wasi:clocks/wall-clock@0.2.6", "wasi:filesystem/types@0.2.6", "wasi:filesystem/preopens@0.2.6"]);
        let files = files.unwrap_err();
        assert!(files.contains("wasi:filesystem/types@0.2.6") && files.contains("gets no clock, no files:"), "{files}");
        assert!(check(&["wasi:cli/exit@0.3.0"]).is_err());
        assert!(check(&["wasi:random/random@0.2.6"]).unwrap_err().contains("no randomness"));
        assert!(
            check(&["paramedic:policy/incident@2.0.0"]).unwrap_err().contains("was built for paramedic:policy/incident@2.0.0")
        );
        assert!(check(&["paramedic:policy/weather@1.0.0"]).unwrap_err().contains("made for a newer Paramedic"));
        assert!(check(&["acme:thing/api@1.0.0"]).unwrap_err().contains("acme:thing/api@1.0.0, which Paramedic does not have"));
        assert!(check(&["bare"]).is_err());
    }

    #[test]
    fn both_exports_are_needed_in_this_version() {
        let check = |names: &[&str]| check_exports(&strings(names)).map_err(|e| e.to_string());
        assert_eq!(check(&["init", "paramedic:policy/handler@1.0.0", "paramedic:policy/lifecycle@1.1.0"]), Ok(()));
        assert!(check(&["paramedic:policy/handler@1.0.0"]).unwrap_err().contains("lifecycle@1.0.0"));
        assert!(check(&["paramedic:policy/handler@2.0.0"]).unwrap_err().contains("built for paramedic:policy/handler@2.0.0"));
    }

    #[test]
    fn a_manifest_is_checked_and_cleaned() {
        let (manifest, schema) = read(raw(&["docker.start", "docker.restart", "docker.start"], "")).unwrap();
        assert_eq!((manifest.name.as_str(), manifest.description.as_str()), ("nginx�", "Heals things"));
        assert_eq!(manifest.actions, [Kind::DockerRestart, Kind::DockerStart]);
        assert!(schema.is_none() && manifest.settings_schema.is_none());
        let error = read(raw(&["docker.exec"], "")).unwrap_err().to_string();
        assert!(error.contains("`docker.exec`") && error.contains("docker.restart, docker.start"), "{error}");
        assert!(matches!(read(RawManifest { name: "\n".into(), ..raw(&[], "") }), Err(Problem::Nameless("name"))));
        assert!(matches!(read(RawManifest { version: String::new(), ..raw(&[], "") }), Err(Problem::Nameless("version"))));
    }
}
