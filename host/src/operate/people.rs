//! Which user a number is, and which groups that user is in, by this machine's own files.
//!
//! `/etc/passwd` and `/etc/group` are asked and nothing else: a directory service that is slow or down must not decide whether a
//! person can halt. Users of a directory are `uid 1234`, and can be named so. The group of the process counts too, by the kernel's word.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::policy::approve::Person;

/// The fields of a line that belongs to this name or number; name and number are the first and third field of both files.
fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(':').collect::<Vec<_>>())
        .filter(|line| line.len() >= 4)
}

fn number(field: &str) -> Option<u32> {
    field.parse().ok()
}

/// Who that is. `gid` is the group of the process that speaks.
pub(super) fn person(uid: u32, gid: u32) -> Person {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    from_files(uid, gid, &read("/etc/passwd"), &read("/etc/group"))
}

fn from_files(uid: u32, gid: u32, passwd: &str, group: &str) -> Person {
    let user = lines(passwd).find(|line| number(line[2]) == Some(uid));
    let name = user.as_ref().map(|line| line[0].to_owned()).filter(|name| !name.is_empty());
    let first = user.as_ref().and_then(|line| number(line[3]));
    let is_in = |line: &Vec<&str>| {
        let listed = || name.as_ref().is_some_and(|name| line[3].split(',').any(|member| member == name));
        number(line[2]).is_some_and(|number| number == gid || Some(number) == first) || listed()
    };
    let groups = lines(group).filter(is_in).map(|line| line[0].to_owned()).collect();
    Person { uid, name, groups }
}

/// The number of the group of this name.
pub(super) fn gid_of(group: &str) -> Option<u32> {
    let text = fs::read_to_string("/etc/group").unwrap_or_default();
    lines(&text).find(|line| line[0] == group).and_then(|line| number(line[2]))
}

/// The name of the group of this number, or its number.
pub fn group_of(gid: u32) -> String {
    let text = fs::read_to_string("/etc/group").unwrap_or_default();
    let found = lines(&text).find(|line| number(line[2]) == Some(gid)).map(|line| line[0].to_owned());
    found.unwrap_or_else(|| format!("gid {gid}"))
}

/// Who runs this process.
pub fn myself() -> Person {
    person(rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// Whom the socket is for where no group is named: root and the server's user, who is the owner of the data folder once there is one.
pub fn without_a_group(data: &Path) -> [Person; 2] {
    let server = data.metadata().map_or_else(|_| myself(), |found| person(found.uid(), found.gid()));
    [person(0, 0), server]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# a comment:x:7:7\nalice:x:1000:1000::/home/alice:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nalice:x:1000:\nops:x:200:bob,alice\ndev:x:300:alicexx\nshell:x:400:\n";

    #[test]
    fn groups_are_the_first_the_listed_and_that_of_the_process() {
        let alice = from_files(1000, 400, PASSWD, GROUP);
        assert_eq!(alice.name.as_deref(), Some("alice"));
        assert_eq!(alice.groups, ["alice", "ops", "shell"]);
        assert_eq!(alice.to_string(), "alice");
    }

    #[test]
    fn a_number_without_a_name_is_a_number_and_a_comment_is_nobody() {
        for uid in [7, 1234] {
            let nobody = from_files(uid, 9999, PASSWD, GROUP);
            assert_eq!((nobody.to_string(), nobody.groups.is_empty()), (format!("uid {uid}"), true));
        }
        assert_eq!(from_files(0, 0, "", "").to_string(), "uid 0");
    }
}
