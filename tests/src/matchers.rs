//! Matchers under text that nobody would write.
#![allow(clippy::unwrap_used)]

use paramedic::alert::Labels;
use paramedic::alert::matchers::Matcher;
use proptest::prelude::*;

proptest! {
    /// Whatever is written, the answer is a matcher or a sentence.
    #[test]
    fn parsing_never_panics(text in "\\PC*|[a-z\"=!~\\\\{} \n]{0,30}|(?s).{0,60}") {
        if let Err(why) = Matcher::parse(&text) {
            prop_assert!(!why.is_empty() && why.len() < 2000 && !why.contains('\n'), "{why:?}");
        }
    }

    /// What is printed means the same when it is read again.
    #[test]
    fn printed_is_read_again(text in "[a-zA-Zé\"' .]{1,8}(=|!=)(\"(?s:.){0,12}\"|[a-z]{0,5})") {
        if let Ok(matcher) = Matcher::parse(&text) {
            prop_assert_eq!(Matcher::parse(&matcher.to_string()), Ok(matcher));
        }
    }

    /// Any name and value can be matched exactly, and only they are.
    #[test]
    fn any_label_can_be_matched(name in "(?s).{1,10}", value in "(?s).{1,20}") {
        let quoted = |text: &str| text.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect::<String>();
        let labels = Labels::from([(name.clone(), value.clone())]);
        let matcher = Matcher::parse(&format!("\"{}\"=\"{}\"", quoted(&name), quoted(&value))).unwrap();
        prop_assert!(matcher.matches(&labels));
        let longer = Labels::from([(name, value + "x")]);
        prop_assert!(!matcher.matches(&longer));
    }
}
