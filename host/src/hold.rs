//! Holds: what a person wants left alone for a while, such as a service that is being deployed.
//!
//! One file each in the folder `holds` of the data folder, for the reasons for which the halt is one: it counts while the server is
//! down, survives every restart, and can be made, read and removed by hand. A hold names alerts by matchers on their labels, and
//! always has an end: one that somebody forgets must not disarm a service for ever. A file that cannot be understood holds everything,
//! since whatever lies there is a person's wish. What has ended is moved to `holds/ended`, as a record. Absent on purpose: a memory
//! of what was read, and holds that are changed (make another, and release the first).

use std::fmt;
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alert::Labels;
use crate::alert::matchers::Matchers;
use crate::clock::{Time, print_duration};
use crate::halt::MOST_REASON;
use crate::telemetry::clean;

/// The folder's name in the data folder.
pub const FOLDER: &str = "holds";
/// In it, the folder of those that have ended.
const ENDED: &str = "ended";
/// The longest that a hold may last.
pub const LONGEST: Duration = Duration::from_secs(7 * 86_400);
/// The most matchers of one hold.
pub const MOST_MATCHERS: usize = 20;
/// How much of a file is read, in bytes.
const MOST_BYTES: u64 = 64 << 10;
/// Everybody may read who holds what and why.
const MODE: u32 = 0o644;

/// One hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its name: that of its file.
    #[serde(default)]
    pub id: String,
    /// Which alerts: all have to match.
    pub matchers: Matchers,
    /// Who wants it.
    #[serde(default)]
    pub by: Option<String>,
    /// Why, in that person's words.
    #[serde(default)]
    pub reason: Option<String>,
    /// Since when.
    #[serde(default, with = "moment", skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Until when; always there.
    #[serde(with = "moment")]
    pub until: Option<Time>,
    /// How it ended, if somebody ended it before its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// Who ended a hold before its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(with = "moment")]
    pub at: Option<Time>,
}

/// Moments as RFC 3339: these files are read and written by people.
mod moment {
    use super::Time;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(moment: &Option<Time>, serializer: S) -> Result<S::Ok, S::Error> {
        match moment {
            Some(moment) => serializer.collect_str(moment),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || D::Error::custom(format!("`{}` is no moment such as 2026-11-25T04:30:00Z", text.escape_debug()));
        Time::parse(&text).map(Some).ok_or_else(wrong)
    }
}

impl Hold {
    /// A hold that begins now.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence with what to write.
    pub fn now(matchers: Matchers, until: Time, by: &str, reason: &str) -> Result<Self, String> {
        let now = Time::now();
        if matchers.0.is_empty() || matchers.0.len() > MOST_MATCHERS {
            return Err(format!(
                "a hold needs 1 to {MOST_MATCHERS} matchers, such as service=\"web\"; `paramedic halt` holds everything"
            ));
        }
        if until <= now {
            return Err(format!("its end {until} is not in the future (it is {now})"));
        }
        if until.since(now) > LONGEST {
            let longest = print_duration(LONGEST);
            return Err(format!(
                "its end {until} is more than {longest} away: hold for a shorter time, and again if it is still needed"
            ));
        }
        let id = uuid::Uuid::new_v4().simple().to_string().get(..8).unwrap_or_default().to_owned();
        let (by, reason) = (Some(by.to_owned()), Some(reason.to_owned()));
        Ok(Self { id, matchers, by, reason, since: Some(now), until: Some(until), ended: None })
    }

    fn read(file: &Path) -> Result<Self, String> {
        if !file.is_file() {
            // Also what cannot end, such as a pipe.
            return Err("it is no file".to_owned());
        }
        let mut text = String::new();
        let read = File::open(file).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text));
        read.map_err(|error| error.to_string())?;
        let hold: Self = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        if hold.matchers.0.is_empty() {
            return Err("it has no matchers".to_owned());
        }
        Ok(Self { id: id_of(file), ..hold })
    }

    /// Does it still hold then?
    pub fn stands(&self, now: Time) -> bool {
        self.ended.is_none() && self.until.is_none_or(|until| now < until)
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hold {}", clean(&self.id, 80))?;
        if let Some(by) = &self.by {
            write!(f, " by {}", clean(by, 80))?;
        }
        write!(f, " on {}", clean(&self.matchers.to_string(), 300))?;
        if let Some(until) = self.until {
            write!(f, " until {until}")?;
        }
        if let Some(reason) = &self.reason {
            write!(f, ": {}", clean(reason, MOST_REASON))?;
        }
        Ok(())
    }
}

/// What lies in the folder and cannot be understood: it holds everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no hold that can be understood ({}), so everything is held", self.file.display(), clean(&self.why, 300))
    }
}

/// What stands in the way of an action about an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InTheWay {
    /// One sentence, with what to do about it.
    pub message: String,
    /// When it is over by itself.
    pub until: Option<Time>,
}

/// What became of somebody's wish to release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// It holds no longer.
    Hold(Box<Hold>),
    /// A file that could not be understood was put aside.
    Broken(String),
}

/// The folder of holds.
#[derive(Clone, Debug)]
pub struct Holds {
    folder: PathBuf,
}

impl Holds {
    /// Those of this data folder. Nothing is read or made yet.
    pub fn of(data: &Path) -> Self {
        Self { folder: data.join(FOLDER) }
    }

    /// All that stands at this moment, the one that ends last first; broken ones before them.
    ///
    /// # Errors
    /// When the folder cannot be read: take everything for held.
    pub fn standing(&self, now: Time) -> io::Result<(Vec<Broken>, Vec<Hold>)> {
        let (mut broken, mut holds) = (Vec::new(), Vec::new());
        for file in files(&self.folder)? {
            match Hold::read(&file) {
                Ok(hold) if hold.stands(now) => holds.push(hold),
                Ok(_) => {}
                // Ended and moved away between the two looks.
                Err(_) if !exists(&file) => {}
                Err(why) => broken.push(Broken { file, why }),
            }
        }
        holds.sort_by_key(|hold| std::cmp::Reverse(hold.until));
        Ok((broken, holds))
    }

    /// Those that have ended and are still kept, the newest end first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn ended(&self) -> io::Result<Vec<Hold>> {
        let over = |file: &PathBuf| Hold::read(file).ok().filter(|hold| !hold.stands(Time::now()));
        let aside = files(&self.folder.join(ENDED))?;
        let mut holds: Vec<Hold> = files(&self.folder)?.iter().chain(&aside).filter_map(over).collect();
        holds.sort_by_key(|hold| std::cmp::Reverse(end_of(hold)));
        Ok(holds)
    }

    /// What stands in the way of acting for an alert with these labels; of several, the one that ends last.
    pub fn in_the_way(&self, labels: &Labels) -> Option<InTheWay> {
        let (broken, holds) = match self.standing(Time::now()) {
            Ok(found) => found,
            Err(error) => {
                let folder = self.folder.display();
                let message =
                    format!("whether something is held cannot be found out: {folder}: {error}; make it readable for the server");
                return Some(InTheWay { message, until: None });
            }
        };
        if let Some(broken) = broken.first() {
            return Some(InTheWay { message: format!("{broken}; correct it or remove it"), until: None });
        }
        let covering: Vec<&Hold> = holds.iter().filter(|hold| hold.matchers.matches(labels)).collect();
        let last = covering.first()?;
        let more = if covering.len() > 1 { format!(" (and {} more)", covering.len() - 1) } else { String::new() };
        let message = format!("{last}{more}; `paramedic release {} --reason ...` lets go", clean(&last.id, 80));
        Some(InTheWay { message, until: last.until })
    }

    /// Writes a hold down, durably.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn place(&self, hold: &Hold) -> io::Result<()> {
        make(&self.folder)?;
        replace(&self.folder.join(format!("{}.json", hold.id)), hold)?;
        sync(&self.folder)
    }

    /// Releases the one whose id is, or begins with, this; durably.
    ///
    /// # Errors
    /// `NotFound` when there is none, `InvalidInput` when there are several; else when it cannot be written.
    pub fn release(&self, beginning: &str, by: &str, reason: &str) -> io::Result<Released> {
        let fits = |file: &PathBuf| !beginning.is_empty() && id_of(file).starts_with(beginning);
        let exact = |file: &PathBuf| id_of(file) == beginning;
        let found: Vec<PathBuf> = self.in_force()?.into_iter().filter(fits).collect();
        match found.as_slice() {
            [file] => self.release_file(file, by, reason),
            [] => Err(io::Error::new(ErrorKind::NotFound, self.no_such(beginning))),
            several => match several.iter().find(|file| exact(file)) {
                Some(file) => self.release_file(file, by, reason),
                None => {
                    let ids: Vec<String> = several.iter().map(|file| id_of(file)).collect();
                    let message = format!("several holds begin with `{beginning}`: {}", ids.join(", "));
                    Err(io::Error::new(ErrorKind::InvalidInput, message))
                }
            },
        }
    }

    /// Releases all of them, durably.
    ///
    /// # Errors
    /// When one cannot be written; those before it are released.
    pub fn release_all(&self, by: &str, reason: &str) -> io::Result<Vec<Released>> {
        self.in_force()?.iter().map(|file| self.release_file(file, by, reason)).collect()
    }

    /// Puts aside what has ended, and removes what ended longer than `keep` ago.
    ///
    /// # Errors
    /// When the folder cannot be read or changed.
    pub fn tidy(&self, keep: Option<Duration>) -> io::Result<()> {
        let now = Time::now();
        for file in files(&self.folder)? {
            if Hold::read(&file).is_ok_and(|hold| !hold.stands(now)) {
                self.put_aside(&file)?;
            }
        }
        let Some(keep) = keep else { return Ok(()) };
        for file in files(&self.folder.join(ENDED))? {
            // One that cannot be understood is as old as its file.
            let end = Hold::read(&file).ok().and_then(|hold| end_of(&hold)).or_else(|| changed(&file));
            if end.is_some_and(|end| now.since(end) > keep) {
                std::fs::remove_file(&file)?;
            }
        }
        Ok(())
    }

    /// Makes the folder, so that it is the server's own.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn prepare(&self) -> io::Result<()> {
        make(&self.folder)
    }

    /// Every file that holds something now.
    fn in_force(&self) -> io::Result<Vec<PathBuf>> {
        let now = Time::now();
        Ok(files(&self.folder)?.into_iter().filter(|file| !Hold::read(file).is_ok_and(|hold| !hold.stands(now))).collect())
    }

    fn release_file(&self, file: &Path, by: &str, reason: &str) -> io::Result<Released> {
        let Ok(hold) = Hold::read(file) else {
            self.put_aside(file)?;
            return Ok(Released::Broken(file.display().to_string()));
        };
        let ended = Ended { by: by.to_owned(), reason: reason.to_owned(), at: Some(Time::now()) };
        let hold = Hold { ended: Some(ended), ..hold };
        // Written where it is, so that no moment knows two of it. A disk that is full must not keep a hold alive: aside it holds nothing either.
        let written = replace(file, &hold);
        self.put_aside(file)?;
        written.or_else(|error| if error.kind() == ErrorKind::StorageFull { Ok(()) } else { Err(error) })?;
        Ok(Released::Hold(Box::new(hold)))
    }

    fn put_aside(&self, file: &Path) -> io::Result<()> {
        let aside = self.folder.join(ENDED);
        make(&aside)?;
        let name = file.file_name().unwrap_or_default();
        std::fs::rename(file, aside.join(name))?;
        sync(&aside)?;
        sync(&self.folder)
    }

    fn no_such(&self, beginning: &str) -> String {
        let shown = clean(beginning, 80);
        let before =
            self.ended().unwrap_or_default().into_iter().find(|hold| !beginning.is_empty() && hold.id.starts_with(beginning));
        match before.map(|hold| (end_of(&hold), hold.ended)) {
            Some((Some(at), Some(ended))) => format!("hold {shown} was released by {} at {at}", clean(&ended.by, 80)),
            Some((Some(at), None)) => format!("hold {shown} ended at {at}"),
            _ => format!("there is no hold {shown}: `paramedic holds` lists them"),
        }
    }
}

fn end_of(hold: &Hold) -> Option<Time> {
    hold.ended.as_ref().map_or(hold.until, |ended| ended.at)
}

fn changed(file: &Path) -> Option<Time> {
    let seconds = file.symlink_metadata().ok()?.mtime();
    Some(Time(seconds.saturating_mul(1_000)))
}

fn exists(file: &Path) -> bool {
    !matches!(file.symlink_metadata(), Err(error) if error.kind() == ErrorKind::NotFound)
}

fn id_of(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(".json").unwrap_or(&name).to_owned()
}

/// What lies in a folder, without what is hidden (a file that is just being written) and without the folder of those that ended.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if !name.as_encoded_bytes().starts_with(b".") && name != ENDED {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Makes a folder that belongs to whom the one around it belongs: root may have been faster than the server.
fn make(folder: &Path) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            let around = folder.parent().unwrap_or(Path::new(".")).metadata()?;
            // Who may not give it away is the server's user, or is told so when the server cannot write there.
            let _ = chown(folder, Some(around.uid()), Some(around.gid()));
            Ok(())
        }
    }
}

fn replace(file: &Path, hold: &Hold) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::Builder::new().prefix(".").permissions(Permissions::from_mode(MODE)).tempfile_in(folder)?;
    writeln!(new, "{}", serde_json::to_string_pretty(hold)?)?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}

/// A name is there, or gone, for good only once its folder is on disk.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn labels(service: &str) -> Labels {
        Labels::from([("service".to_owned(), service.to_owned())])
    }

    fn hold(matcher: &str, minutes: u64) -> Hold {
        let until = Time::now().plus(Duration::from_secs(minutes * 60));
        Hold::now(Matchers::parse(&[matcher]).unwrap(), until, "ann", "deploy 123").unwrap()
    }

    #[test]
    fn a_hold_covers_what_it_names_until_it_ends_or_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let holds = Holds::of(folder.path());
        assert_eq!(holds.in_the_way(&labels("web")), None, "without a folder nothing is held");
        let (short, long) = (hold("service=web", 5), hold("service=~\"w.*\"", 10));
        holds.place(&short).unwrap();
        holds.place(&long).unwrap();
        let told = holds.in_the_way(&labels("web")).unwrap();
        assert_eq!(told.until, long.until, "of several, the last end counts");
        assert!(
            told.message.contains(&long.id) && told.message.contains("by ann") && told.message.contains("deploy 123"),
            "{told:?}"
        );
        assert!(told.message.contains(&format!("paramedic release {}", long.id)) && told.message.contains("1 more"), "{told:?}");
        assert_eq!(holds.in_the_way(&labels("db")), None);
        let Released::Hold(released) = holds.release(&long.id[..5], "bob", "done").unwrap() else { panic!("it is whole") };
        assert_eq!(released.ended.unwrap().by, "bob");
        assert_eq!(holds.in_the_way(&labels("web")).unwrap().until, short.until);
        let again = holds.release(&long.id, "bob", "done").unwrap_err();
        assert!(again.kind() == ErrorKind::NotFound && again.to_string().contains("was released by bob"), "{again}");
        assert_eq!(holds.release_all("bob", "done").unwrap().len(), 1);
        assert_eq!(holds.in_the_way(&labels("web")), None);
        assert_eq!(holds.ended().unwrap().len(), 2);
    }

    #[test]
    fn what_is_over_is_put_aside_and_forgotten_after_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let holds = Holds::of(folder.path());
        let over = Hold { until: Some(Time::now().minus(Duration::from_secs(60))), ..hold("service=web", 1) };
        holds.place(&over).unwrap();
        assert_eq!(holds.in_the_way(&labels("web")), None, "its end counts whether or not anybody tidies");
        holds.tidy(None).unwrap();
        assert_eq!(files(&folder.path().join(FOLDER)).unwrap(), Vec::<PathBuf>::new());
        holds.tidy(Some(Duration::from_secs(3600))).unwrap();
        assert_eq!(holds.ended().unwrap().len(), 1);
        holds.tidy(Some(Duration::from_secs(30))).unwrap();
        assert_eq!(holds.ended().unwrap().len(), 0);
    }

    #[test]
    fn whatever_cannot_be_understood_holds_everything_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (holds, inside) = (Holds::of(folder.path()), folder.path().join(FOLDER));
        std::fs::create_dir(&inside).unwrap();
        let until = Time::now().plus(Duration::from_secs(60));
        for (text, why) in [
            (String::new(), "EOF"),
            ("deploying\u{1b}[31m".to_owned(), "expected value"),
            (format!(r#"{{"matchers": [], "until": "{until}"}}"#), "no matchers"),
            (r#"{"matchers": ["service=web"]}"#.to_owned(), "until"),
            (r#"{"matchers": ["service=web"], "until": "tomorrow"}"#.to_owned(), "is no moment"),
            (format!(r#"{{"matchers": ["service"], "until": "{until}"}}"#), "has no ="),
        ] {
            let file = inside.join("mine.json");
            std::fs::write(&file, &text).unwrap();
            let told = holds.in_the_way(&labels("db")).unwrap();
            assert!(told.until.is_none() && told.message.contains("mine.json") && told.message.contains(why), "{text}: {told:?}");
            assert!(!told.message.contains('\u{1b}'));
            assert_eq!(holds.release("mine", "ann", "x").unwrap(), Released::Broken(file.display().to_string()));
            assert_eq!(holds.in_the_way(&labels("db")), None, "{text}");
        }
        std::fs::write(inside.join("by-hand"), format!(r#"{{"matchers": ["service=web"], "until": "{until}"}}"#)).unwrap();
        assert!(
            holds.in_the_way(&labels("web")).is_some() && holds.in_the_way(&labels("db")).is_none(),
            "the least that is needed"
        );
        std::fs::create_dir(inside.join("folder")).unwrap();
        assert!(holds.in_the_way(&labels("db")).unwrap().message.contains("it is no file"));
        std::fs::remove_dir(inside.join("folder")).unwrap();
        std::os::unix::fs::symlink("/nowhere", inside.join("link")).unwrap();
        assert!(holds.in_the_way(&labels("db")).is_some(), "a dangling link is a wish as well");
    }

    #[test]
    fn an_end_is_needed_and_not_too_far() {
        let until = |seconds: u64| Time::now().plus(Duration::from_secs(seconds));
        let web = || Matchers::parse(&["service=web"]).unwrap();
        assert!(Hold::now(web(), Time::now(), "ann", "x").unwrap_err().contains("not in the future"));
        assert!(Hold::now(web(), until(8 * 86_400), "ann", "x").unwrap_err().contains("more than 7 d"));
        assert!(Hold::now(Matchers::default(), until(60), "ann", "x").unwrap_err().contains("1 to 20 matchers"));
        Hold::now(web(), until(7 * 86_400), "ann", "x").unwrap();
    }
}
