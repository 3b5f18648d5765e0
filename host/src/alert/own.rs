//! The alerts that Paramedic itself raises in Alertmanager: what they are called, and how they are known again.
//!
//! They come back through every door and every list, as all alerts do. What bears the mark and one of the names is never
//! an incident, whichever Paramedic raised it: otherwise a call for people would be answered by another action. Both are needed, so that
//! a label that flows in from a scraped target takes no alert away. Absent on purpose: a prefix, since an operator's own alert about
//! Paramedic may well begin with its name.

use super::Labels;

/// While an incident is being healed: the inhibit rule delays the page for it.
pub const HEALING: &str = "ParamedicHealing";
/// A person has to look at an incident.
pub const ESCALATED: &str = "ParamedicEscalated";
/// A person is asked for a yes or a no.
pub const APPROVAL: &str = "ParamedicApproval";
/// Incidents that are held back and will not go on by themselves, told together.
pub const HOLDING: &str = "ParamedicHolding";
/// Always there while Paramedic works: when it ends, somebody has to look at Paramedic.
pub const ALIVE: &str = "ParamedicAlive";

/// The label that marks them all.
pub const MARK: &str = "paramedic";
/// And its value.
pub const MARKED: &str = "notice";

/// Was this raised by a Paramedic?
pub fn is_own(labels: &Labels) -> bool {
    let marked = labels.get(MARK).is_some_and(|value| value == MARKED);
    marked && labels.get("alertname").is_some_and(|name| [HEALING, ESCALATED, APPROVAL, HOLDING, ALIVE].contains(&name.as_str()))
}

/// Is this the alert that says that a Paramedic is healing?
pub fn is_healing(labels: &Labels) -> bool {
    is_own(labels) && labels.get("alertname").is_some_and(|name| name == HEALING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_are_known_by_mark_and_name_and_an_operators_are_not() {
        let of = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Labels>();
        let mark = (MARK, MARKED);
        assert!(is_own(&of(&[("alertname", HEALING), mark])) && is_own(&of(&[("alertname", ALIVE), mark, ("host", "a")])));
        for other in
            [&[("alertname", "Down"), mark][..], &[mark], &[("alertname", HEALING)], &[("alertname", "ParamedicDown")], &[]]
        {
            assert!(!is_own(&of(other)), "{other:?}");
        }
        assert!(is_healing(&of(&[("alertname", HEALING), mark])) && !is_healing(&of(&[("alertname", ESCALATED), mark])));
    }
}
