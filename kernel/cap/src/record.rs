//! Stored records: the layout of values on disk.
//!
//! | id | content |
//! |---|---|
//! | 0x01 page | its bytes |
//! | 0x02 page node | height, then the hashes of the present subtrees at the next lower record height |
//! | 0x03 trie leaf | entry; only of a trie that is this leaf alone |
//! | 0x04 trie node | depth, the [`Shape`] of the branches down to the next record depth, what they hold |
//! | 0x10 0x30 0x40 0x50 | the capability, of a value persisted by itself |
//! | 0x20 Image | SCALE(image) |
//!
//! Branches stand in preorder, and so does what their sides hold: an entry, or at a record depth
//! the hash of a branch. An entry is a byte, the index of the capability's [`Form`] (bits 5..7)
//! and the key's length less one (bits 0..4), then the key and the form's content. Capabilities
//! are written by value as far as they are small, so that they need no record of their own.
//!
//! A content is accepted only if it hashes to the id, is encoded canonically, and starts at the
//! place it is referred from ([`Reference::level`]). Three things an id does not bind: whether
//! the root of a trie is a leaf or a branch, that an id is an Image's, and an Image's bytes of
//! code. A record that is wrong in one of them refers to a record that cannot exist, or that
//! is refused when it is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use parity_scale_codec::{Decode, Encode, Input, Output};
use smallvec::{SmallVec, smallvec};

use crate::cap::Cap;
use crate::cnode::{CNode, Root as Table};
use crate::data::{Data, SHORT_LEN_MAX};
use crate::error::StoreError;
use crate::hash::{Hash, Tag, tagged};
use crate::image_ref::ImageRef;
use crate::instance::{Body, Instance, NativeKind, Paused, Scratch, Status, Waiting};
use crate::key::Key;
use crate::pages::{HEIGHT_MAX, PAGE_BYTES, PageLink, height_of, page_count};
use crate::persist::Item;
use crate::shape::{Shape, Side};
use crate::store::{NodeStore, RecordId, read};
use crate::trie::{Branch, Leaf, Link};

/// Data up to this many bytes stand where they are referred from.
pub(crate) const INLINE_BYTES_MAX: u64 = SHORT_LEN_MAX as u64;
/// Where the index of a form stands in the first byte of an entry.
const FORM_SHIFT: u32 = 5;
/// The bits beside it, of the key's length less one.
const KEY_LEN_MASK: u8 = 31;
/// Depth of the deepest branch: keys are told apart by 256 bits.
const DEPTH_MAX: usize = 255;

/// Levels of the largest record of a trie.
const LEVELS_MAX: usize = 4;
const _: () = assert!((1 << LEVELS_MAX) - 1 <= Shape::BRANCHES_MAX);

/// Where the records below one that starts at `depth` start.
///
/// Near the root, where most records change in every block, they are large, for few reads; from
/// there on small, so that an update of one entry writes little; where maps of a million entries
/// thin out, larger again, for they hold little.
pub(crate) const fn next_record_depth(depth: usize) -> usize {
    let levels = match depth {
        0..12 => LEVELS_MAX,
        12..18 => 2,
        _ => 3,
    };
    (depth / levels + 1) * levels
}

/// Height below `height` at which page records start: the multiples of 3.
pub(crate) const fn next_record_height(height: u32) -> u32 {
    height.saturating_sub(1) / 3 * 3
}

/// How a capability is written.
#[derive(Encode, Decode)]
enum Form {
    /// A short Data.
    #[codec(index = 0)]
    Bytes(Short),
    /// Length and page root.
    #[codec(index = 1)]
    Data(u64, Hash),
    /// Id and bytes of code.
    #[codec(index = 2)]
    Image(Hash, u32),
    /// The map.
    #[codec(index = 3)]
    CNode(Root),
    /// A program: type, Image id, bytes of code, table, status.
    #[codec(index = 4)]
    Program(Hash, Hash, u32, Root, StatusForm),
    /// A native Instance with SCALE of its state.
    #[codec(index = 5)]
    Native(NativeKind, Vec<u8>),
    /// A type.
    #[codec(index = 6)]
    Type(Hash),
    /// A File, with the Data it seals.
    #[codec(index = 7)]
    File(DataForm),
}

/// Where a program stands.
#[derive(Encode, Decode)]
enum StatusForm {
    #[codec(index = 0)]
    Idle,
    #[codec(index = 1)]
    Paused(Box<PausedForm>),
}

/// A suspended call; capabilities in it are written as [`DataForm`], as the id of what is set
/// aside, whose record is that of a trie with this one entry, and as an Image's id and bytes of
/// code.
#[derive(Encode, Decode)]
struct PausedForm {
    regs: [u64; 13],
    pc: u32,
    waiting: Waiting,
    ephemeral: BTreeMap<u8, DataForm>,
    scratch: Option<Hash>,
    next_image: Option<(Hash, u32)>,
}

/// How a Data is written.
#[derive(Encode, Decode)]
enum DataForm {
    /// A short one.
    #[codec(index = 0)]
    Bytes(Short),
    /// Length and page root.
    #[codec(index = 1)]
    Tree(u64, Hash),
}

/// The bytes of a short Data: their number in a byte, then themselves. A number of eight bytes
/// that ends in zeros, as most do, is 64 and the count of bytes up to the zeros, then those.
struct Short(SmallVec<[u8; 64]>);

/// Bytes of a number.
const NUMBER_BYTES: usize = 8;
/// Added to the count of a number's bytes.
const NUMBER: u8 = 64;

impl Encode for Short {
    fn encode_to<T: Output + ?Sized>(&self, out: &mut T) {
        let count = self.0.iter().rposition(|byte| *byte != 0);
        let count = count.map_or(0, |last| last + 1);
        if self.0.len() == NUMBER_BYTES && count < NUMBER_BYTES {
            out.push_byte(NUMBER + count as u8);
            out.write(&self.0[..count]);
        } else {
            out.push_byte(self.0.len() as u8);
            out.write(&self.0);
        }
    }
}

impl Decode for Short {
    fn decode<I: Input>(input: &mut I) -> Result<Short, parity_scale_codec::Error> {
        let first = input.read_byte()?;
        let (len, count) = match first.checked_sub(NUMBER) {
            None => (first.into(), first.into()),
            Some(count) if usize::from(count) < NUMBER_BYTES => (NUMBER_BYTES, count.into()),
            Some(_) => return Err("a short Data of unknown length".into()),
        };
        let mut bytes = smallvec![0; len];
        input.read(&mut bytes[..count])?;
        Ok(Short(bytes))
    }
}

/// A first byte that was made of others, and what follows.
struct After<'i, 'b>(Option<u8>, &'i mut &'b [u8]);

impl Input for After<'_, '_> {
    fn remaining_len(&mut self) -> Result<Option<usize>, parity_scale_codec::Error> {
        Ok(Some(usize::from(self.0.is_some()) + self.1.len()))
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(), parity_scale_codec::Error> {
        match into.split_first_mut() {
            Some((first, rest)) if self.0.is_some() => {
                *first = self.0.take().unwrap_or_default();
                self.1.read(rest)
            }
            _ => self.1.read(into),
        }
    }
}

/// The root of a trie.
#[derive(Encode, Decode)]
enum Root {
    #[codec(index = 0)]
    Empty,
    #[codec(index = 1)]
    Leaf(Hash),
    #[codec(index = 2)]
    Branch(Hash),
}

/// Why a record is refused.
pub(crate) type Reason = &'static str;

const WRONG_HASH: Reason = "the content does not hash to the id";
const NOT_CANONICAL: Reason = "the content is not in canonical form";
const WRONG_LEVEL: Reason = "the record is not of the place it is referred from";

impl Form {
    fn of(cap: &Cap) -> Form {
        match cap {
            Cap::Data(data) => match DataForm::of(data) {
                DataForm::Bytes(bytes) => Form::Bytes(bytes),
                DataForm::Tree(len, root) => Form::Data(len, root),
            },
            Cap::Image(image) => Form::Image(image.id(), image.size()),
            Cap::CNode(cnode) => Form::CNode(Root::of(cnode)),
            Cap::Instance(instance) => match instance.body() {
                Body::Program {
                    image,
                    cnode,
                    status,
                } => Form::Program(
                    instance.type_id(),
                    image.id(),
                    image.size(),
                    Root::of(cnode),
                    StatusForm::of(status),
                ),
                Body::Native { kind, state } => Form::Native(*kind, state.clone()),
                Body::File(data) => Form::File(DataForm::of(data)),
            },
            Cap::Type(type_id) => Form::Type(**type_id),
        }
    }

    /// The value; what it refers to lies in the store of this number.
    fn into_cap(self, store: u64) -> Result<Cap, Reason> {
        Ok(match self {
            Form::Bytes(bytes) => Cap::Data(DataForm::Bytes(bytes).into_data(store)?),
            Form::Data(len, root) => Cap::Data(DataForm::Tree(len, root).into_data(store)?),
            Form::Image(id, size) => Cap::Image(ImageRef::stored(id, size, store)),
            Form::CNode(root) => Cap::CNode(root.into_cnode(store)),
            Form::Program(type_id, image, size, root, status) => {
                let body = Body::Program {
                    image: ImageRef::stored(image, size, store),
                    cnode: root.into_cnode(store),
                    status: status.into_status(store)?,
                };
                Cap::Instance(Instance::new(type_id, body))
            }
            // A File's state is the Data it seals, and written so.
            Form::Native(NativeKind::File, _) => return Err(NOT_CANONICAL),
            Form::File(data) => Cap::Instance(Instance::file(data.into_data(store)?)),
            Form::Native(kind, state) => Cap::Instance(Instance::native(kind, state)),
            Form::Type(type_id) => Cap::Type(type_id.into()),
        })
    }
}

impl DataForm {
    fn of(data: &Data) -> DataForm {
        match (data.short(), data.tree()) {
            (_, Some(root)) => DataForm::Tree(data.len(), root.hash()),
            (short, None) => {
                let bytes = SmallVec::from_slice(short.unwrap_or_default());
                DataForm::Bytes(Short(bytes))
            }
        }
    }

    fn into_data(self, store: u64) -> Result<Data, Reason> {
        match self {
            DataForm::Bytes(Short(bytes)) if bytes.len() as u64 <= INLINE_BYTES_MAX => {
                Ok(Data::new(&bytes))
            }
            DataForm::Tree(len, root) if len > INLINE_BYTES_MAX => {
                let height = height_of(page_count(len));
                Ok(Data::from_parts(len, PageLink::stored(root, height, store)))
            }
            DataForm::Bytes(_) | DataForm::Tree(..) => Err(NOT_CANONICAL),
        }
    }
}

impl StatusForm {
    fn of(status: &Status) -> StatusForm {
        let Status::Paused(paused) = status else {
            return StatusForm::Idle;
        };
        let ephemeral = paused.ephemeral.iter();
        let image = |image: &ImageRef| (image.id(), image.size());
        StatusForm::Paused(Box::new(PausedForm {
            regs: paused.regs,
            pc: paused.pc,
            waiting: paused.waiting.clone(),
            ephemeral: ephemeral.map(|(i, d)| (*i, DataForm::of(d))).collect(),
            scratch: paused.scratch.as_ref().map(Scratch::id),
            next_image: paused.next_image.as_ref().map(image),
        }))
    }

    fn into_status(self, store: u64) -> Result<Status, Reason> {
        let StatusForm::Paused(form) = self else {
            return Ok(Status::Idle);
        };
        let mut ephemeral = BTreeMap::new();
        for (index, data) in form.ephemeral {
            ephemeral.insert(index, data.into_data(store)?);
        }
        let image = |(id, size)| ImageRef::stored(id, size, store);
        Ok(Status::Paused(Arc::new(Paused {
            regs: form.regs,
            pc: form.pc,
            waiting: form.waiting,
            ephemeral,
            scratch: form.scratch.map(|id| Scratch::stored(id, store)),
            next_image: form.next_image.map(image),
        })))
    }
}

impl Root {
    fn of(cnode: &CNode) -> Root {
        match cnode.table() {
            Table::Loaded(Link::Empty) => Root::Empty,
            Table::Loaded(Link::Branch(_)) => Root::Branch(cnode.root()),
            Table::Loaded(Link::Leaf(_)) | Table::Stored(_) => Root::Leaf(cnode.root()),
        }
    }

    fn into_cnode(self, store: u64) -> CNode {
        match self {
            Root::Empty => CNode::empty(),
            Root::Leaf(hash) => CNode::stored_leaf(hash, store),
            Root::Branch(hash) => CNode::from_root(Link::stored_branch(hash, store)),
        }
    }
}

/// The record of a capability by itself.
pub(crate) fn encode_cap(cap: &Cap) -> Vec<u8> {
    Form::of(cap).encode()
}

/// The record of a trie that is one leaf.
pub(crate) fn encode_leaf(leaf: &Leaf) -> Vec<u8> {
    let mut out = Vec::new();
    write_leaf(leaf, &mut out);
    out
}

fn write_leaf(leaf: &Leaf, out: &mut Vec<u8>) {
    let (key, at) = (leaf.key.as_slice(), out.len());
    Form::of(&leaf.cap).encode_to(out);
    // The form's index goes into the first byte, before the key.
    out[at] = out[at] << FORM_SHIFT | (key.len() - 1) as u8;
    out.splice(at + 1..at + 1, key.iter().copied());
}

/// The record that starts at a branch; `None` when not all of it is loaded.
pub(crate) fn encode_branch(branch: &Branch, depth: usize) -> Option<Vec<u8>> {
    let (mut shape, mut held) = (Shape::default(), Vec::new());
    write_branch(
        branch,
        depth,
        next_record_depth(depth),
        &mut shape,
        &mut held,
    )?;
    let mut out = Vec::with_capacity(held.len() + 9);
    out.push(depth as u8);
    shape.write(&mut out);
    out.extend_from_slice(&held);
    Some(out)
}

fn write_branch(
    branch: &Branch,
    depth: usize,
    end: usize,
    shape: &mut Shape,
    held: &mut Vec<u8>,
) -> Option<()> {
    let kids = branch.loaded_kids()?;
    shape.push([side(&kids[0]), side(&kids[1])]);
    for kid in kids {
        match kid {
            Link::Empty => {}
            Link::Leaf(leaf) => write_leaf(leaf, held),
            Link::Branch(_) if depth + 1 == end => held.extend_from_slice(&kid.hash()),
            Link::Branch(branch) => write_branch(branch, depth + 1, end, shape, held)?,
        }
    }
    Some(())
}

fn side(link: &Link) -> Side {
    match link {
        Link::Empty => Side::Empty,
        Link::Leaf(_) => Side::Leaf,
        Link::Branch(_) => Side::Branch,
    }
}

fn read_leaf(input: &mut &[u8], store: u64) -> Result<Leaf, Reason> {
    let head = *input.split_off_first().ok_or("the record ends early")?;
    let len = usize::from(head & KEY_LEN_MASK) + 1;
    let key = input.split_off(..len).ok_or("the entry has no key")?;
    let key = Key::new(key).map_err(|_| "the entry has no key")?;
    let form = Form::decode(&mut After(Some(head >> FORM_SHIFT), input));
    let form = form.map_err(|_| "the entry has no capability")?;
    Ok(Leaf::new(key, form.into_cap(store)?))
}

/// The branches of a record, with what is held in them.
fn read_branches(
    input: &mut &[u8],
    depth: usize,
    end: usize,
    store: u64,
) -> Result<[Link; 2], Reason> {
    let mut shape = Shape::peek(input);
    let mut sides = Vec::new();
    read_sides(&mut shape, depth, end, &mut sides)?;
    input
        .split_off(..shape.end()?)
        .ok_or("the record ends early")?;
    read_branch(input, depth, end, &mut sides.into_iter(), store)
}

/// The sides of the branches of a record, in preorder.
fn read_sides(
    shape: &mut Shape,
    depth: usize,
    end: usize,
    out: &mut Vec<[Side; 2]>,
) -> Result<(), Reason> {
    let sides = shape.next()?;
    out.push(sides);
    for side in sides {
        match side {
            Side::Branch if depth >= DEPTH_MAX => return Err("a branch below the deepest"),
            Side::Branch if depth + 1 < end => read_sides(shape, depth + 1, end, out)?,
            _ => {}
        }
    }
    Ok(())
}

fn read_branch(
    input: &mut &[u8],
    depth: usize,
    end: usize,
    branches: &mut std::vec::IntoIter<[Side; 2]>,
    store: u64,
) -> Result<[Link; 2], Reason> {
    let sides = branches.next().ok_or("the record ends early")?;
    let mut kids = [Link::Empty, Link::Empty];
    for (kid, side) in kids.iter_mut().zip(sides) {
        *kid = match side {
            Side::Empty => continue,
            Side::Leaf => Link::Leaf(read_leaf(input, store)?.into()),
            Side::Branch if depth + 1 < end => {
                Link::branch(read_branch(input, depth + 1, end, branches, store)?)
            }
            Side::Branch => {
                let hash = Hash::decode(input).map_err(|_| "the record ends early")?;
                Link::stored_branch(hash, store)
            }
        };
    }
    Ok(kids)
}

/// Checks the record of a trie that is one leaf.
pub(crate) fn decode_leaf(hash: Hash, bytes: &[u8], store: u64) -> Result<Leaf, Reason> {
    let leaf = read_leaf(&mut &*bytes, store)?;
    if leaf.hash() != hash {
        return Err(WRONG_HASH);
    }
    if encode_leaf(&leaf) != bytes {
        return Err(NOT_CANONICAL);
    }
    leaf.record.set(store);
    Ok(leaf)
}

/// Checks the record that starts at a branch; answers its depth, too.
fn decode_branch(hash: Hash, bytes: &[u8], store: u64) -> Result<(Branch, usize), Reason> {
    let mut input = bytes;
    let depth = usize::from(*input.split_off_first().ok_or("the record is empty")?);
    let end = next_record_depth(depth);
    if depth > 0 && next_record_depth(depth - 1) != depth {
        return Err("no record starts at this depth");
    }
    let branch = Branch::new(read_branches(&mut input, depth, end, store)?);
    if branch.hash() != hash {
        return Err(WRONG_HASH);
    }
    if encode_branch(&branch, depth).as_deref() != Some(bytes) {
        return Err(NOT_CANONICAL);
    }
    Ok((branch, depth))
}

/// Reads the record that starts at a branch of this depth.
pub(crate) fn load_branch(
    hash: Hash,
    depth: usize,
    store: &dyn NodeStore,
) -> Result<[Link; 2], StoreError> {
    let id = RecordId::new(Tag::TrieNode, hash);
    let bytes = read(store, &id)?;
    let corrupt = |reason| StoreError::Corrupt { id, reason };
    let (branch, found) = decode_branch(hash, &bytes, store.number()).map_err(corrupt)?;
    match branch.into_kids() {
        Some(kids) if found == depth => Ok(kids),
        _ => Err(corrupt(WRONG_LEVEL)),
    }
}

/// The record that starts at a page node; `None` when not all of it is loaded.
pub(crate) fn encode_pages(node: &PageLink, height: u32) -> Option<Vec<u8>> {
    let mut out = vec![height as u8];
    write_pages(node, height, next_record_height(height), &mut out)?;
    Some(out)
}

fn write_pages(link: &PageLink, height: u32, end: u32, out: &mut Vec<u8>) -> Option<()> {
    match link {
        PageLink::Absent => {}
        _ if height == end => out.extend_from_slice(&link.hash()),
        _ => {
            for kid in link.loaded_kids()? {
                write_pages(kid, height - 1, end, out)?;
            }
        }
    }
    Some(())
}

/// Checks the record that starts at a page node; answers its height, too.
fn decode_pages(hash: Hash, bytes: &[u8], store: u64) -> Result<(PageLink, u32), Reason> {
    let (height, hashes) = bytes.split_first().ok_or("the record is empty")?;
    let height = u32::from(*height);
    if height == 0 || height > HEIGHT_MAX || hashes.len() % 32 != 0 {
        return Err("not a page node");
    }
    let end = next_record_height(height);
    let mut level: Vec<_> = hashes
        .chunks_exact(32)
        .map(|chunk| {
            let mut hash = [0; 32];
            hash.copy_from_slice(chunk);
            PageLink::stored(hash, end, store)
        })
        .collect();
    if level.len() > 1 << (height - end) || level.is_empty() {
        return Err("a page node of the wrong number of subtrees");
    }
    for _ in end..height {
        let mut links = level.into_iter();
        level = Vec::new();
        while let Some(left) = links.next() {
            level.push(PageLink::node(
                left,
                links.next().unwrap_or(PageLink::Absent),
            ));
        }
    }
    match level.pop() {
        Some(root) if root.hash() == hash => Ok((root, height)),
        _ => Err(WRONG_HASH),
    }
}

/// Reads the record that starts at a page node of this height.
pub(crate) fn load_pages(
    id: &RecordId,
    height: u32,
    store: &dyn NodeStore,
) -> Result<[PageLink; 2], StoreError> {
    let bytes = read(store, id)?;
    let corrupt = |reason| StoreError::Corrupt { id: *id, reason };
    let (root, found) = decode_pages(id.hash(), &bytes, store.number()).map_err(corrupt)?;
    match root.loaded_kids() {
        Some(kids) if found == height => Ok(kids.clone()),
        _ => Err(corrupt(WRONG_LEVEL)),
    }
}

/// A record that another one refers to, or that a value starts at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The record.
    pub id: RecordId,
    /// What it must be, so that the id has one content: the depth of a trie node, the height of
    /// a page node, the bytes of code of an Image; `None` where that is not known.
    pub level: Option<u32>,
}

impl From<RecordId> for Reference {
    fn from(id: RecordId) -> Reference {
        Reference { id, level: None }
    }
}

/// A record's content, checked.
enum Content {
    Page,
    Pages(PageLink, u32),
    Leaf(Link),
    Branch(Link, usize),
    Cap(Cap),
}

fn decode(reference: &Reference, bytes: &[u8], store: u64) -> Result<Content, Reason> {
    let hash = reference.id.hash();
    let check_level = |level: u32| match reference.level {
        Some(expected) if expected != level => Err(WRONG_LEVEL),
        _ => Ok(()),
    };
    match reference.id.tag() {
        Some(Tag::PageLeaf) => {
            if bytes.is_empty() || bytes.len() > PAGE_BYTES {
                return Err("not a page");
            }
            if tagged(Tag::PageLeaf, &[bytes]) != hash {
                return Err(WRONG_HASH);
            }
            Ok(Content::Page)
        }
        Some(Tag::PageNode) => {
            let (root, height) = decode_pages(hash, bytes, store)?;
            check_level(height)?;
            Ok(Content::Pages(root, height))
        }
        Some(Tag::TrieLeaf) => {
            let leaf = decode_leaf(hash, bytes, store)?;
            Ok(Content::Leaf(Link::Leaf(leaf.into())))
        }
        Some(Tag::TrieNode) => {
            let (branch, depth) = decode_branch(hash, bytes, store)?;
            check_level(depth as u32)?;
            Ok(Content::Branch(Link::Branch(branch.into()), depth))
        }
        Some(Tag::Image) => {
            let image = ImageRef::from_record(hash, bytes, store)?;
            check_level(image.size())?;
            Ok(Content::Cap(Cap::Image(image)))
        }
        Some(tag) => {
            let form = Form::decode(&mut &*bytes).map_err(|_| "not a capability")?;
            let cap = form.into_cap(store)?;
            if cap.kind().tag() != tag || cap.id() != hash {
                return Err(WRONG_HASH);
            }
            if encode_cap(&cap) != bytes {
                return Err(NOT_CANONICAL);
            }
            Ok(Content::Cap(cap))
        }
        None => Err("no record has this tag"),
    }
}

/// The capability of this id (tag 0x10, 0x20, 0x30, 0x40 or 0x50), persisted by itself. What
/// lies below is read when it is needed.
pub fn load(store: &dyn NodeStore, id: &RecordId) -> Result<Cap, StoreError> {
    let bytes = read(store, id)?;
    let corrupt = |reason| StoreError::Corrupt { id: *id, reason };
    match decode(&(*id).into(), &bytes, store.number()).map_err(corrupt)? {
        Content::Cap(cap) => Ok(cap),
        _ => Err(corrupt("not the record of a capability")),
    }
}

/// Checks a record and answers the records it refers to: what pruning, export and sync walk by,
/// memoized by id.
pub fn references(reference: &Reference, bytes: &[u8]) -> Result<Vec<Reference>, StoreError> {
    let corrupt = |reason| StoreError::Corrupt {
        id: reference.id,
        reason,
    };
    let content = decode(reference, bytes, 0).map_err(corrupt)?;
    let mut items = Vec::new();
    match &content {
        Content::Page | Content::Cap(Cap::Image(_)) => {}
        Content::Pages(root, height) => Item::Pages(root, *height).children(&mut items)?,
        Content::Leaf(leaf) => Item::Trie(leaf, 0).children(&mut items)?,
        Content::Branch(branch, depth) => Item::Trie(branch, *depth).children(&mut items)?,
        Content::Cap(cap) => Item::below(cap, &mut items),
    }
    Ok(items.iter().map(Item::reference).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_start_on_the_way_to_any_depth() {
        let mut starts = vec![0];
        while starts.last() < Some(&256) {
            starts.extend(starts.last().map(|depth| next_record_depth(*depth)));
        }
        assert_eq!(starts[..9], [0, 4, 8, 12, 14, 16, 18, 21, 24]);
        for depth in 0..256 {
            let next = starts.iter().find(|start| **start > depth);
            assert_eq!(Some(&next_record_depth(depth)), next);
            assert!(next_record_depth(depth) <= depth + LEVELS_MAX);
        }
    }

    #[test]
    fn page_records_start_at_every_third_height() {
        let below: Vec<_> = (1..8).map(next_record_height).collect();
        assert_eq!(below, [0, 0, 0, 3, 3, 3, 6]);
    }

    #[test]
    fn each_malformed_branch_is_refused() {
        let leaf = |n: u8| {
            let mut out = Vec::new();
            write_leaf(
                &Leaf::new(Key::from(n), Cap::Type([n; 32].into())),
                &mut out,
            );
            out
        };
        let read = |bytes: &[u8], depth| {
            let mut input = bytes;
            read_branches(&mut input, depth, next_record_depth(depth), 1).map(|_| input.len())
        };
        // Two leaves; a branch and nothing; a branch and a leaf; twice a branch.
        const TWO: u8 = 0b1001;
        let two = [&[TWO << 4][..], &leaf(1), &leaf(2)].concat();
        assert_eq!(read(&two, 0), Ok(0));
        assert_eq!(read(&two, 255), Ok(0));
        assert!(read(&two[..two.len() - 1], 0).is_err(), "ends early");
        assert!(read(&[], 0).is_err());
        assert!(
            read(&[0b1000 << 4], 0).is_err(),
            "long form of two branches"
        );
        assert!(read(&[0b1110 << 4], 0).is_err(), "no such sides");
        assert!(read(&[0b1111 << 4], 0).is_err(), "no such sides");
        let more = [&[TWO << 4 | 1][..], &two[1..]].concat();
        assert!(read(&more, 0).is_err(), "more bits");
        let below = [&[0b1101 << 4][..], &[7; 32]].concat();
        assert_eq!(read(&below, 3), Ok(0), "the hash of a branch at depth 4");
        assert!(
            read(&below, 255).is_err(),
            "nothing branches below 256 bits"
        );
        assert_eq!(
            read(&[0b1101_1101, 0b1101_1101], 0),
            Err("the record ends early")
        );
        let long_key = [&[TWO << 4, 31][..], &[1; 31]].concat();
        assert!(read(&long_key, 0).is_err(), "no whole key");
    }

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        let short = |bytes: &[u8]| Short(SmallVec::from_slice(bytes)).encode();
        for (number, expected) in [
            (0, &[64][..]),
            (1, &[65, 1]),
            (256, &[66, 0, 1]),
            (u64::MAX >> 8, &[71, 255, 255, 255, 255, 255, 255, 255]),
        ] {
            assert_eq!(short(&u64::to_le_bytes(number)), expected);
        }
        assert_eq!(short(&u64::MAX.to_le_bytes())[0], 8);
        assert_eq!(short(&[0; 7]), [7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(short(&[]), [0]);
        let mut table = CNode::empty();
        let store = crate::store::MemoryStore::new();
        let zero = Cap::Data(Data::new(&[0; 8]));
        table.set(&store, &Key::from(1), Some(zero)).unwrap();
        let hash = table.root();
        let record = |value: &[u8]| [&[0, 1][..], value].concat();
        assert!(decode_leaf(hash, &record(&[64]), 1).is_ok());
        for longer in [&[65, 0][..], &[8, 0, 0, 0, 0, 0, 0, 0, 0]] {
            let refused = decode_leaf(hash, &record(longer), 1).err();
            assert_eq!(refused, Some(NOT_CANONICAL));
        }
        for bad in [&[72][..], &[255], &[65]] {
            assert!(decode_leaf(hash, &record(bad), 1).is_err());
        }
    }

    #[test]
    fn keys_of_every_length_come_back() {
        for len in 1..=Key::LEN_MAX {
            let leaf = Leaf::new(
                Key::new(&[9; 32][..len]).unwrap(),
                Cap::Type([1; 32].into()),
            );
            let bytes = encode_leaf(&leaf);
            assert_eq!(bytes.len(), 1 + len + 32);
            assert_eq!(decode_leaf(leaf.hash(), &bytes, 1).unwrap().key, leaf.key);
        }
    }

    #[test]
    fn a_record_states_the_depth_it_starts_at() {
        let leaf = |n| Link::Leaf(Leaf::new(Key::from(n), Cap::Type([n; 32].into())).into());
        let branch = Branch::new([leaf(1), leaf(2)]);
        let hash = branch.hash();
        for depth in 0..=255 {
            let bytes = encode_branch(&branch, depth).expect("all of it is in memory");
            let starts = depth == 0 || next_record_depth(depth - 1) == depth;
            assert_eq!(decode_branch(hash, &bytes, 1).is_ok(), starts, "{depth}");
        }
    }

    #[test]
    fn data_has_one_form() {
        let short = Form::Data(INLINE_BYTES_MAX, [1; 32]);
        assert_eq!(short.into_cap(1), Err(NOT_CANONICAL));
        let long = Form::Bytes(Short(smallvec![1; 64]));
        assert_eq!(long.into_cap(1), Err(NOT_CANONICAL));
    }
}
