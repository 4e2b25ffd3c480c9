//! Bits that change at rest, and are put right again.

use std::ops::Range;

use super::file::{File, Rot};
use super::folder::FileId;
use super::{SimDisk, State};

impl SimDisk {
    /// A bit of a file changes at rest. `false` if there is no such place.
    #[must_use]
    pub fn rot(&self, name: &str, offset: u64, bit: u8) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(id) = state.folder.find(name) else { return false };
        let Some(file) = state.files.get_mut(&id) else { return false };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        file.rot(offset, bit);
        let is_there = offset < file.len();
        if is_there {
            state.rotten.push((id, Rot { offset, bit }));
        }
        is_there
    }

    /// A bit changes at rest in something that is not zero, where `place` decides. Says where.
    #[must_use]
    pub fn rot_somewhere(&self, place: u64) -> Option<(String, u64)> {
        let contents = self.contents();
        let pick =
            |from: u64, count: usize| usize::try_from(from % (count as u64).max(1)).unwrap_or(0);
        let (name, bytes) = contents.into_iter().nth(pick(place, self.contents().len()))?;
        let at_rest = self.at_rest_bytes(&name);
        let full = bytes.iter().take(at_rest).enumerate();
        let full = full.filter(|(_, byte)| **byte != 0).map(|(at, _)| at);
        let full: Vec<usize> = full.collect();
        let offset = *full.get(pick(place >> 8, full.len()))? as u64;
        let bit = (place >> 60) as u8;
        self.rot(&name, offset, bit).then_some((name, offset))
    }

    /// What rotted and was not written since, by name and offset.
    pub fn rotten(&self) -> impl Iterator<Item = (String, u64)> + use<> {
        let state = self.state.borrow();
        let named = |id: FileId| {
            let mut names = state.folder.names();
            names.find(|(_, known)| *known == id).map(|(name, _)| name.clone())
        };
        let rotten: Vec<(String, u64)> = state
            .rotten
            .iter()
            .filter_map(|(id, rot)| Some((named(*id)?, rot.offset as u64)))
            .collect();
        rotten.into_iter()
    }

    /// What rotted is put right, as from a copy kept elsewhere.
    pub fn mend_rot(&self) {
        let mut state = self.state.borrow_mut();
        let State { rotten, files, .. } = &mut *state;
        for (id, rot) in std::mem::take(rotten) {
            if let Some(file) = files.get_mut(&id) {
                file.rot(rot.offset, rot.bit);
            }
        }
        files.values_mut().for_each(File::mend_covered);
    }

    fn at_rest_bytes(&self, name: &str) -> usize {
        let state = self.state.borrow();
        let file = state.folder.find(name).and_then(|id| state.files.get(&id));
        file.map_or(0, File::at_rest_bytes)
    }
}

impl State {
    /// The write of that number goes over a part of a file. What rotted there is out of sight, and gone with the sync.
    pub(super) fn cover_rot(&mut self, id: FileId, part: &Range<usize>, number: u64) {
        let State { rotten, files, .. } = self;
        let Some(file) = files.get_mut(&id) else { return };
        rotten.retain(|(of, rot)| {
            let is_covered = *of == id && part.contains(&rot.offset);
            if is_covered {
                file.cover_rot(number, *rot);
            }
            !is_covered
        });
    }

    /// What was written over rot is gone.
    pub(super) fn uncover_rot(&mut self) {
        let State { rotten, files, .. } = self;
        for (id, file) in files {
            rotten.extend(file.take_uncovered().into_iter().map(|rot| (*id, rot)));
        }
    }
}
