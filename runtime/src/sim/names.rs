//! The directory tree of the simulated disk: names as a process sees them, names that would survive a power cut, and
//! the operations between the two, in order within each directory. Owns no file contents.
//! Lives on the one thread of a simulated run.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};

use rand::Rng;
use rand::rngs::SmallRng;

/// A file's identity: names come and go, an open file stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId(pub(super) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DirId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(FileId),
    Dir(DirId),
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(String, Node),
    Unlink(String),
    Rename { from: String, to: String },
}

#[derive(Clone, Debug, Default)]
struct Directory {
    live: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    unsynced: Vec<NameChange>,
    retired: u64,
}

impl Directory {
    fn change(&mut self, change: NameChange) {
        apply(&mut self.live, &change);
        self.unsynced.push(change);
    }

    fn make_durable(&mut self, count: usize) {
        for change in self.unsynced.drain(..count) {
            apply(&mut self.durable, &change);
        }
        self.retired += count as u64;
    }
}

fn apply(names: &mut BTreeMap<String, Node>, change: &NameChange) {
    match change {
        NameChange::Link(name, node) => {
            names.insert(name.clone(), *node);
        }
        NameChange::Unlink(name) => {
            names.remove(name);
        }
        NameChange::Rename { from, to } => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

/// One name in a listing.
pub(super) enum Listed {
    File(String, FileId),
    Dir(String),
}

/// A directory and how far a sync that is under way will make it durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct DirMark {
    dir: DirId,
    mark: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Names {
    dirs: BTreeMap<DirId, Directory>,
    next_dir: u64,
    next_file: u64,
}

const ROOT: DirId = DirId(0);

impl Names {
    pub(super) fn new() -> Names {
        Names { dirs: BTreeMap::from([(ROOT, Directory::default())]), next_dir: 1, next_file: 1 }
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<FileId> {
        let (dir, name) = self.parent(path)?;
        match self.dirs[&dir].live.get(&name) {
            Some(Node::File(file)) => Ok(*file),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<FileId> {
        let (dir, name) = self.parent(path)?;
        let file = FileId(self.next_file);
        let directory = self.directory(dir);
        if directory.live.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        directory.change(NameChange::Link(name, Node::File(file)));
        self.next_file += 1;
        Ok(file)
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut at = ROOT;
        for name in parts(path)? {
            at = match self.dirs[&at].live.get(&name) {
                Some(Node::Dir(dir)) => *dir,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    let dir = DirId(self.next_dir);
                    self.next_dir += 1;
                    self.dirs.insert(dir, Directory::default());
                    self.directory(at).change(NameChange::Link(name, Node::Dir(dir)));
                    dir
                }
            };
        }
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        let (dir, name) = self.parent(path)?;
        self.directory(dir).change(NameChange::Unlink(name));
        Ok(())
    }

    /// As a file system does it: every name below is removed in its own directory, deepest first, then the directory.
    pub(super) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.dir(path)?;
        let (parent, name) = self.parent(path)?;
        self.empty(dir);
        self.directory(parent).change(NameChange::Unlink(name));
        Ok(())
    }

    fn empty(&mut self, dir: DirId) {
        let below: Vec<(String, Node)> = self.dirs[&dir].live.clone().into_iter().collect();
        for (name, node) in below {
            if let Node::Dir(child) = node {
                self.empty(child);
            }
            self.directory(dir).change(NameChange::Unlink(name));
        }
    }

    /// Within one directory, atomically; across directories it is not simulated.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        if from_dir != to_dir {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the simulated disk renames within one directory"));
        }
        let directory = self.directory(from_dir);
        if !directory.live.contains_key(&from_name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if from_name != to_name {
            directory.change(NameChange::Rename { from: from_name, to: to_name });
        }
        Ok(())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        let dir = self.dir(path)?;
        let names = self.dirs[&dir].live.iter();
        Ok(names
            .map(|(name, node)| match node {
                Node::File(file) => Listed::File(name.clone(), *file),
                Node::Dir(_) => Listed::Dir(name.clone()),
            })
            .collect())
    }

    pub(super) fn sync_mark(&self, path: &Path) -> io::Result<DirMark> {
        let dir = self.dir(path)?;
        let directory = &self.dirs[&dir];
        Ok(DirMark { dir, mark: directory.retired + directory.unsynced.len() as u64 })
    }

    /// The marks of all directories.
    pub(super) fn sync_marks(&self) -> Vec<DirMark> {
        let mark = |directory: &Directory| directory.retired + directory.unsynced.len() as u64;
        self.dirs.iter().map(|(dir, directory)| DirMark { dir: *dir, mark: mark(directory) }).collect()
    }

    pub(super) fn sync(&mut self, mark: DirMark) {
        // The directory may have been removed and forgotten meanwhile.
        if let Some(directory) = self.dirs.get_mut(&mark.dir) {
            let count = mark.mark.saturating_sub(directory.retired);
            directory.make_durable(count as usize);
        }
    }

    /// The power goes: in each directory a random prefix of the unsynced operations survives.
    pub(super) fn cut(&mut self, rng: &mut SmallRng) {
        for directory in self.dirs.values_mut() {
            let count = directory.unsynced.len();
            let survive = match rng.random_range(0..4u32) {
                0 => 0,
                1 => count,
                _ => rng.random_range(0..=count),
            };
            directory.make_durable(survive);
            directory.unsynced.clear();
            directory.live = directory.durable.clone();
        }
    }

    /// Forgets directories that no name leads to, now or after any cut; returns the files that some name still leads
    /// to. Only between runs, when nothing is open.
    pub(super) fn collect(&mut self) -> BTreeSet<FileId> {
        let mut files = BTreeSet::new();
        let mut dirs = BTreeSet::new();
        let mut pending = vec![ROOT];
        while let Some(dir) = pending.pop() {
            if !dirs.insert(dir) {
                continue;
            }
            let directory = &self.dirs[&dir];
            let linked = directory.unsynced.iter().filter_map(|change| match change {
                NameChange::Link(_, node) => Some(node),
                _ => None,
            });
            for node in directory.live.values().chain(directory.durable.values()).chain(linked) {
                match node {
                    Node::File(file) => drop(files.insert(*file)),
                    Node::Dir(child) => pending.push(*child),
                }
            }
        }
        self.dirs.retain(|dir, _| dirs.contains(dir));
        files
    }

    /// The files that a process can reach by name now.
    pub(super) fn named(&self) -> BTreeSet<FileId> {
        let mut files = BTreeSet::new();
        let mut pending = vec![ROOT];
        while let Some(dir) = pending.pop() {
            for node in self.dirs[&dir].live.values() {
                match node {
                    Node::File(file) => drop(files.insert(*file)),
                    Node::Dir(child) => pending.push(*child),
                }
            }
        }
        files
    }

    fn directory(&mut self, dir: DirId) -> &mut Directory {
        self.dirs.get_mut(&dir).expect("every name leads to a directory that exists")
    }

    fn dir(&self, path: &Path) -> io::Result<DirId> {
        let mut at = ROOT;
        for name in parts(path)? {
            at = self.child_dir(at, &name)?;
        }
        Ok(at)
    }

    fn parent(&self, path: &Path) -> io::Result<(DirId, String)> {
        let mut names = parts(path)?;
        let name = names.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let mut at = ROOT;
        for part in names {
            at = self.child_dir(at, &part)?;
        }
        Ok((at, name))
    }

    fn child_dir(&self, dir: DirId, name: &str) -> io::Result<DirId> {
        match self.dirs[&dir].live.get(name) {
            Some(Node::Dir(child)) => Ok(*child),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// The names of a path. Relative paths start at the root; "." is nothing; ".." is refused.
fn parts(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_cut_keeps_a_prefix_of_what_happened_in_a_directory() {
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let mut names = Names::new();
            names.create_dir_all(Path::new("/d")).unwrap();
            names.sync(names.sync_mark(Path::new("/")).unwrap());
            names.create_file(Path::new("/d/new")).unwrap();
            names.create_file(Path::new("/d/old")).unwrap();
            names.sync(names.sync_mark(Path::new("/d")).unwrap());
            names.rename(Path::new("/d/new"), Path::new("/d/old")).unwrap();
            names.create_file(Path::new("/d/next")).unwrap();
            names.remove_file(Path::new("/d/old")).unwrap();
            names.cut(&mut SmallRng::seed_from_u64(seed));
            let list: Vec<String> = names
                .list(Path::new("/d"))
                .unwrap()
                .into_iter()
                .map(|entry| match entry {
                    Listed::File(name, _) | Listed::Dir(name) => name,
                })
                .collect();
            seen.insert(list.join(" "));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["new old", "next", "next old", "old"]);
    }

    #[test]
    fn a_directory_whose_own_name_was_not_synced_takes_its_files_with_it() {
        let mut lost = 0;
        for seed in 0..50 {
            let mut names = Names::new();
            names.create_dir_all(Path::new("/a/b")).unwrap();
            names.create_file(Path::new("/a/b/file")).unwrap();
            names.sync(names.sync_mark(Path::new("/a/b")).unwrap());
            names.cut(&mut SmallRng::seed_from_u64(seed));
            let found = names.file(Path::new("/a/b/file")).is_ok();
            lost += u32::from(!found);
            assert_eq!(names.collect().len(), usize::from(found));
        }
        assert!((1..50).contains(&lost));
    }

    #[test]
    fn names_that_are_taken_missing_or_no_directory_are_refused() {
        let mut names = Names::new();
        names.create_file(Path::new("/f")).unwrap();
        let kind = |result: io::Result<FileId>| result.unwrap_err().kind();
        assert_eq!(kind(names.create_file(Path::new("/f"))), io::ErrorKind::AlreadyExists);
        assert_eq!(kind(names.file(Path::new("/g"))), io::ErrorKind::NotFound);
        assert_eq!(kind(names.file(Path::new("/f/x"))), io::ErrorKind::NotADirectory);
        assert_eq!(names.create_dir_all(Path::new("/f/x")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert!(names.remove_dir_all(Path::new("/nothing")).is_err());
    }

    #[test]
    fn removing_a_tree_may_come_back_whole_or_in_part() {
        let mut names = Names::new();
        names.create_dir_all(Path::new("/a/b")).unwrap();
        names.create_file(Path::new("/a/b/file")).unwrap();
        for path in ["/", "/a", "/a/b"] {
            names.sync(names.sync_mark(Path::new(path)).unwrap());
        }
        names.remove_dir_all(Path::new("/a")).unwrap();
        assert!(names.list(Path::new("/a")).is_err());
        let (mut gone, mut empty, mut whole) = (0, 0, 0);
        for seed in 0..100 {
            let mut names = names.clone();
            names.cut(&mut SmallRng::seed_from_u64(seed));
            match (names.dir(Path::new("/a/b")), names.file(Path::new("/a/b/file"))) {
                (Err(_), _) => gone += 1,
                (Ok(_), Err(_)) => empty += 1,
                (Ok(_), Ok(_)) => whole += 1,
            }
        }
        assert!(gone > 0 && empty > 0 && whole > 0);
    }
}
