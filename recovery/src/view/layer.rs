//! One layer of a store: files whose key ranges ascend.

use std::ops::{Bound, Range};

use whimbrel_backup::block::BlockCursor;

use super::BackupView;
use super::file::ViewFile;
use crate::Error;

/// Files of a view, by position; their key ranges ascend and do not overlap, and each has a block.
#[derive(Debug)]
pub(super) struct Layer {
    files: Range<usize>,
}

impl Layer {
    pub(super) fn new(files: Range<usize>) -> Self {
        Self { files }
    }

    pub(super) fn files<'v>(&self, view: &'v BackupView) -> &'v [ViewFile] {
        &view.files[self.files.clone()]
    }

    /// Number of blocks.
    pub(super) fn blocks(&self, view: &BackupView) -> usize {
        self.files(view).iter().map(ViewFile::blocks).sum()
    }

    /// Keys that cut the layer into at most `parts` parts of about as many blocks: first keys of blocks.
    pub(super) fn cuts(&self, view: &BackupView, parts: usize) -> Result<Vec<Vec<u8>>, Error> {
        let (files, blocks) = (self.files(view), self.blocks(view));
        let parts = parts.min(blocks);
        let mut cuts = Vec::with_capacity(parts.saturating_sub(1));
        // Files that are passed, and blocks in them.
        let (mut passed, mut before) = (0, 0);
        for part in 1..parts {
            let at = blocks / parts * part + blocks % parts * part / parts;
            while before + files[passed].blocks() <= at {
                before += files[passed].blocks();
                passed += 1;
            }
            cuts.push(files[passed].block_key(at - before)?.to_vec());
        }
        Ok(cuts)
    }

    /// The file and the block of it that hold `key` if any of this layer do.
    pub(super) fn find<'v>(
        &self,
        view: &'v BackupView,
        key: &[u8],
    ) -> Result<Option<(&'v ViewFile, usize)>, Error> {
        let files = self.files(view);
        let Some(file) = files.get(files.partition_point(|file| file.last_key() < key)) else {
            return Ok(None);
        };
        if file.first_key() > key {
            return Ok(None);
        }
        let number = file.reader()?.block_of(key);
        Ok(number.map(|number| (file, number)))
    }
}

/// Which way a cursor goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Back,
}

/// A place in one layer: at an entry, or nowhere.
#[derive(Debug)]
pub(super) struct LayerCursor<'v> {
    view: &'v BackupView,
    files: &'v [ViewFile],
    /// Position in `files`, and the block there.
    at: (usize, usize),
    /// None when there is no entry.
    block: Option<BlockCursor>,
}

impl<'v> LayerCursor<'v> {
    pub(super) fn new(view: &'v BackupView, layer: &Layer) -> Self {
        Self { view, files: layer.files(view), at: (0, 0), block: None }
    }

    /// Key and value of the entry; no value for a remove.
    pub(super) fn entry(&self) -> Option<(&[u8], Option<&[u8]>)> {
        self.block.as_ref().map(|block| (block.key(), block.value()))
    }

    /// Moves to the next entry in that direction.
    pub(super) fn step(&mut self, direction: Direction) -> Result<(), Error> {
        let Some(block) = &mut self.block else { return Ok(()) };
        let moved = match direction {
            Direction::Forward => block.forward()?,
            Direction::Back => block.back()?,
        };
        if moved { Ok(()) } else { self.leave_block(direction) }
    }

    /// Moves to the first entry of the bound, seen in that direction.
    pub(super) fn seek(&mut self, bound: Bound<&[u8]>, direction: Direction) -> Result<(), Error> {
        self.block = None;
        match direction {
            Direction::Forward => self.seek_forward(bound),
            Direction::Back => self.seek_back(bound),
        }
    }

    fn seek_forward(&mut self, bound: Bound<&[u8]>) -> Result<(), Error> {
        let key = match bound {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => &[],
        };
        let file = self.files.partition_point(|file| file.last_key() < key);
        let Some(found) = self.files.get(file) else { return Ok(()) };
        let mut block = self.load((file, found.reader()?.block_of(key).unwrap_or(0)))?;
        let inside = block.seek(key)?;
        let skip = inside && bound == Bound::Excluded(block.key());
        self.block = Some(block);
        if !inside {
            return self.leave_block(Direction::Forward);
        }
        if skip { self.step(Direction::Forward) } else { Ok(()) }
    }

    fn seek_back(&mut self, bound: Bound<&[u8]>) -> Result<(), Error> {
        let below = |first: &[u8]| match bound {
            Bound::Included(key) => first <= key,
            Bound::Excluded(key) => first < key,
            Bound::Unbounded => true,
        };
        let files = self.files.partition_point(|file| below(file.first_key()));
        let Some(file) = files.checked_sub(1) else { return Ok(()) };
        let reader = self.files[file].reader()?;
        let (Bound::Included(key) | Bound::Excluded(key)) = bound else {
            return self.enter_last(file);
        };
        let Some(number) = reader.block_of(key) else { return Ok(()) };
        let mut block = self.load((file, number))?;
        let inside = block.seek(key)?;
        let there = inside && bound == Bound::Included(block.key());
        self.block = Some(block);
        if there { Ok(()) } else { self.step(Direction::Back) }
    }

    /// Goes on in the next block of that direction, or nowhere.
    fn leave_block(&mut self, direction: Direction) -> Result<(), Error> {
        self.block = None;
        let (file, number) = self.at;
        match direction {
            Direction::Forward if number + 1 < self.files[file].reader()?.blocks() => {
                self.enter_first((file, number + 1))
            }
            Direction::Forward if file + 1 < self.files.len() => self.enter_first((file + 1, 0)),
            Direction::Back if number > 0 => self.enter_end((file, number - 1)),
            Direction::Back if file > 0 => self.enter_last(file - 1),
            Direction::Forward | Direction::Back => Ok(()),
        }
    }

    fn enter_first(&mut self, at: (usize, usize)) -> Result<(), Error> {
        let mut block = self.load(at)?;
        self.block = block.forward()?.then_some(block);
        Ok(())
    }

    fn enter_end(&mut self, at: (usize, usize)) -> Result<(), Error> {
        let mut block = self.load(at)?;
        block.seek_to_end();
        self.block = block.back()?.then_some(block);
        Ok(())
    }

    /// The last entry of a file.
    fn enter_last(&mut self, file: usize) -> Result<(), Error> {
        match self.files[file].reader()?.blocks().checked_sub(1) {
            Some(number) => self.enter_end((file, number)),
            // Files without blocks belong to no layer.
            None => Ok(()),
        }
    }

    fn load(&mut self, at: (usize, usize)) -> Result<BlockCursor, Error> {
        self.at = at;
        let (file, number) = at;
        Ok(BlockCursor::new(self.files[file].block(number, &self.view.cache)?))
    }
}
