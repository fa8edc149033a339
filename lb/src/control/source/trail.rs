//! The way from a path to its file, over symbolic links: every name whose change changes the file.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Links followed before giving up; the kernel's own bound.
const LINKS_MAX: usize = 40;

/// Each symbolic link on the way from the absolute `path` to its file, and last the file itself
/// (or where it would be). All are absolute, with directories fully resolved.
pub(super) fn trail(path: &Path) -> Vec<PathBuf> {
    let mut ahead: VecDeque<OsString> = VecDeque::new();
    let mut at = PathBuf::from("/");
    let mut found = Vec::new();
    enter(path, &mut at, &mut ahead);
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        match std::fs::read_link(&next) {
            Ok(target) if found.len() < LINKS_MAX => {
                enter(&target, &mut at, &mut ahead);
                found.push(next);
            }
            _ => at = next,
        }
    }
    found.push(at);
    found
}

/// Puts the names of `path` before those ahead.
fn enter(path: &Path, at: &mut PathBuf, ahead: &mut VecDeque<OsString>) {
    if path.is_absolute() {
        *at = PathBuf::from("/");
    }
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => ahead.push_front(name.to_owned()),
            Component::ParentDir => ahead.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_config_map_is_followed_through_its_links() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("..1")).unwrap();
        std::fs::write(root.join("..1/weir.yaml"), "").unwrap();
        symlink("..1", root.join("..data")).unwrap();
        symlink("..data/weir.yaml", root.join("weir.yaml")).unwrap();
        assert_eq!(
            trail(&root.join("weir.yaml")),
            [root.join("weir.yaml"), root.join("..data"), root.join("..1/weir.yaml")]
        );
    }

    #[test]
    fn missing_files_loops_and_parents_end() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        assert_eq!(trail(&root.join("none")), [root.join("none")]);
        std::fs::create_dir(root.join("sub")).unwrap();
        symlink("../none", root.join("sub/up")).unwrap();
        assert_eq!(trail(&root.join("sub/up")), [root.join("sub/up"), root.join("none")]);
        symlink("loop", root.join("loop")).unwrap();
        assert_eq!(trail(&root.join("loop")).len(), LINKS_MAX + 1);
    }
}
