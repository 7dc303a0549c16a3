//! The path of a shared file below the folder that it is shared from, as one peer tells it and another makes
//! folders of it. Pure.

/// Maximum length of a path in bytes.
const MAX_PATH: usize = 1000;

/// Whether this may be the path of a file called `name`: its names are separated by `/`, the last one is
/// `name`, none is empty, `.` or `..`, and none has a control character.
pub fn is_path(path: &str, name: &str) -> bool {
    let mut names = path.split('/');
    let is_plain = |name: &str| !matches!(name, "" | "." | "..") && !name.chars().any(char::is_control);
    path.len() <= MAX_PATH && names.clone().all(is_plain) && names.next_back() == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_down_to_the_file_and_nowhere_else() {
        for good in ["a.txt", "course/week 1/a.txt", "ü/a.txt"] {
            assert!(is_path(good, "a.txt"), "{good}");
        }
        let long = format!("{}a.txt", "x/".repeat(600));
        for bad in
            ["", "/a.txt", "x//a.txt", "../a.txt", "x/./a.txt", "x/b.txt", "a.txt/", "\x1b/a.txt", &long]
        {
            assert!(!is_path(bad, "a.txt"), "{bad}");
        }
    }
}
