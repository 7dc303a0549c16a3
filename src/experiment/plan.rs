//! Number of repetitions for each size. Pure.

use super::{SIZES, Size};
use std::fmt;
use std::str::FromStr;

/// Number of repetitions for each of [`SIZES`], for each peer that fetches.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    repetitions: [u32; SIZES.len()],
}

impl Default for Plan {
    /// Many for the small files: they take almost no time, and their times vary most.
    fn default() -> Self {
        Plan { repetitions: [300, 100, 30, 10] }
    }
}

impl Plan {
    /// Number of repetitions for this size; 0 if it is not one of [`SIZES`].
    pub fn repetitions(&self, size: Size) -> u32 {
        let known = SIZES.iter().zip(self.repetitions);
        known.into_iter().find(|(other, _)| **other == size).map_or(0, |(_, repetitions)| repetitions)
    }
}

/// Parses text such as `10kB=100,1MB=5`. Sizes that are not named keep their defaults.
impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut plan = Plan::default();
        for word in text.split(',').map(str::trim) {
            let (label, count) = word.split_once('=').ok_or_else(|| wrong(word))?;
            let index = SIZES.iter().position(|size| size.label.eq_ignore_ascii_case(label.trim()));
            plan.repetitions[index.ok_or_else(|| wrong(word))?] =
                count.trim().parse().map_err(|_| wrong(word))?;
        }
        Ok(plan)
    }
}

fn wrong(word: &str) -> String {
    let sizes = SIZES.map(|size| size.label).join(", ");
    format!("`{word}` is no number of repetitions such as 10kB=100; the sizes are {sizes}")
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (size, repetitions)) in SIZES.iter().zip(self.repetitions).enumerate() {
            write!(f, "{}{}={repetitions}", if index > 0 { "," } else { "" }, size.label)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_keeps_its_default() {
        let plan: Plan = "10kB=7, 1mb=0".parse().unwrap();
        assert_eq!(plan.repetitions, [7, 100, 0, 10]);
        assert_eq!(SIZES.map(|size| plan.repetitions(size)), plan.repetitions);
        assert_eq!(plan.to_string(), "10kB=7,100kB=100,1MB=0,10MB=10");
        assert_eq!(plan.to_string().parse(), Ok(plan));
    }

    #[test]
    fn what_is_no_plan_is_refused_with_a_reason() {
        for text in ["", "10kB", "10kB=", "10kB=-1", "2MB=3", "10kB=1,,1MB=1", "10kB=99999999999"] {
            let why = text.parse::<Plan>().unwrap_err();
            assert!(why.contains("10kB=100"), "{why}");
        }
    }
}
