//! A file exchanged for a new one: whole or not at all, and only if nobody else changed it.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Component, Path, PathBuf};

/// Why the file is as it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error(
        "{0} belongs to a Kubernetes ConfigMap, which puts its own back over it; change the ConfigMap \
         (--dry-run prints the change)"
    )]
    ConfigMap(String),
    #[error("{0} was changed by somebody else meanwhile, and is left as they wrote it; look at it, and try again")]
    Changed(String),
    #[error("{0} lies on a file system that is read only; change it where it comes from (--dry-run prints the change)")]
    ReadOnly(String),
    #[error("this user may not put a new file into {directory}: run it as the owner of {file}, user {owner}")]
    Denied { directory: String, file: String, owner: u32 },
    #[error("{0} is mounted by itself, so it cannot be exchanged whole; mount the directory it is in instead")]
    Mounted(String),
    #[error("cannot write {path}: {error}")]
    Io { path: String, error: io::Error },
}

/// Puts `new` in the place of the file at `path`, whose text was `old`. Symbolic links stay; mode
/// and owner too.
///
/// # Errors
/// Why not; then the file is as it was.
pub(super) fn exchange(path: &Path, old: &str, new: &str) -> Result<(), WriteError> {
    let real = fs::canonicalize(path).map_err(|error| other(path, error))?;
    if is_config_map(&real) {
        return Err(WriteError::ConfigMap(path.display().to_string()));
    }
    // A file that was just resolved is in a directory and has a name.
    let (Some(directory), Some(name)) = (real.parent(), real.file_name()) else {
        return Err(other(path, io::ErrorKind::IsADirectory.into()));
    };
    let meta = fs::metadata(&real).map_err(|error| other(path, error))?;
    let opened = File::open(directory);
    // Two of us at once take turns; where there are no such locks, the look below must do.
    let _turn = opened.as_ref().map(|opened| rustix::fs::flock(opened, rustix::fs::FlockOperation::LockExclusive));
    let beside = directory.join(format!(".{}.{}.tmp", name.display(), std::process::id()));
    let failed = |error| explain(path, directory, &meta, error);
    let mut temporary = Temporary { path: beside, is_ours: false };
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&temporary.path).map_err(failed)?;
    temporary.is_ours = true;
    file.write_all(new.as_bytes()).map_err(failed)?;
    keep_owner(&file, &meta).map_err(failed)?;
    // After the owner, for a new owner takes bits away.
    file.set_permissions(meta.permissions()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    if fs::read(&real).map_err(failed)? != old.as_bytes() {
        return Err(WriteError::Changed(path.display().to_string()));
    }
    fs::rename(&temporary.path, &real).map_err(failed)?;
    temporary.is_ours = false;
    // The change is there; that it outlives a power cut is the file system's business from here on.
    let _ = opened.map(|opened| opened.sync_all());
    Ok(())
}

/// A file that goes away if it does not come into its place.
struct Temporary {
    path: PathBuf,
    is_ours: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn keep_owner(file: &File, wanted: &Metadata) -> io::Result<()> {
    let has = file.metadata()?;
    let user = (has.uid() != wanted.uid()).then(|| wanted.uid());
    let group = (has.gid() != wanted.gid()).then(|| wanted.gid());
    if user.is_some() || group.is_some() { fchown(file, user, group) } else { Ok(()) }
}

/// The links of a ConfigMap lead through a directory named like `..2026_01_02_03_04_05.6789`.
fn is_config_map(real: &Path) -> bool {
    let names = real.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    names.into_iter().any(|name| name.starts_with(".."))
}

fn explain(path: &Path, directory: &Path, meta: &Metadata, error: io::Error) -> WriteError {
    let (file, directory) = (path.display().to_string(), directory.display().to_string());
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => WriteError::ReadOnly(file),
        io::ErrorKind::PermissionDenied => WriteError::Denied { directory, file, owner: meta.uid() },
        io::ErrorKind::ResourceBusy => WriteError::Mounted(file),
        _ => WriteError::Io { path: file, error },
    }
}

fn other(path: &Path, error: io::Error) -> WriteError {
    WriteError::Io { path: path.display().to_string(), error }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_exchanged_behind_its_links_with_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("real.yaml"), directory.path().join("link.yaml"));
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("real.yaml", &link).unwrap();
        let before = fs::metadata(&real).unwrap();
        exchange(&link, "old", "new").unwrap();
        let after = fs::metadata(&real).unwrap();
        assert_eq!(fs::read_to_string(&link).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
        assert_ne!(after.ino(), before.ino(), "a new file: nobody reads half of it");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left behind");
    }

    #[test]
    fn what_somebody_else_wrote_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weir.yaml");
        fs::write(&path, "theirs").unwrap();
        assert!(matches!(exchange(&path, "old", "new"), Err(WriteError::Changed(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_config_map_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("..2026_01_02")).unwrap();
        fs::write(root.join("..2026_01_02/weir.yaml"), "old").unwrap();
        symlink("..2026_01_02", root.join("..data")).unwrap();
        symlink("..data/weir.yaml", root.join("weir.yaml")).unwrap();
        let error = exchange(&root.join("weir.yaml"), "old", "new").unwrap_err();
        assert!(matches!(error, WriteError::ConfigMap(_)), "{error}");
        assert_eq!(fs::read_to_string(root.join("weir.yaml")).unwrap(), "old");
    }

    #[test]
    fn errors_say_what_to_do() {
        let (path, meta) = (Path::new("/etc/weir/weir.yaml"), fs::metadata("/").unwrap());
        for (kind, words) in [
            (io::ErrorKind::ReadOnlyFilesystem, "change it where it comes from"),
            (io::ErrorKind::PermissionDenied, "run it as the owner of /etc/weir/weir.yaml, user 0"),
            (io::ErrorKind::ResourceBusy, "mount the directory"),
            (io::ErrorKind::StorageFull, "cannot write /etc/weir/weir.yaml"),
        ] {
            let error = explain(path, Path::new("/etc/weir"), &meta, kind.into()).to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(exchange(Path::new("/nowhere/weir.yaml"), "", "").is_err());
    }
}
