//! A message of Protocol Buffers as a tree of fields, to be changed here and there without knowing what they mean.

use prost::encoding::{decode_varint, encode_varint};

/// The fields of one message, in their order.
#[derive(Clone, Debug)]
pub struct Fields(Vec<Field>);

#[derive(Clone, Debug)]
struct Field {
    number: u64,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Number(u64),
    Fixed([u8; 8]),
    Bytes(Vec<u8>),
    Message(Fields),
}

impl Fields {
    /// Takes a message apart; what might be a message within it, too.
    pub fn read(bytes: &[u8]) -> Self {
        Self::try_read(bytes).unwrap()
    }

    fn try_read(mut bytes: &[u8]) -> Option<Self> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = decode_varint(&mut bytes).ok()?;
            let value = match key & 7 {
                0 => Value::Number(decode_varint(&mut bytes).ok()?),
                1 => Value::Fixed(*take(&mut bytes, 8)?.first_chunk()?),
                2 => {
                    let length = decode_varint(&mut bytes).ok()?;
                    let content = take(&mut bytes, usize::try_from(length).ok()?)?;
                    match Self::try_read(content) {
                        Some(fields) if !fields.0.is_empty() => Value::Message(fields),
                        _ => Value::Bytes(content.to_vec()),
                    }
                }
                _ => return None,
            };
            fields.push(Field { number: key >> 3, value });
        }
        fields.iter().all(|field| (1..=64).contains(&field.number)).then_some(Self(fields))
    }

    /// The message again.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for Field { number, value } in &self.0 {
            let mut key = |kind: u64| encode_varint(number << 3 | kind, &mut bytes);
            match value {
                Value::Number(number) => {
                    key(0);
                    encode_varint(*number, &mut bytes);
                }
                Value::Fixed(fixed) => {
                    key(1);
                    bytes.extend_from_slice(fixed);
                }
                Value::Bytes(content) => {
                    key(2);
                    put(content, &mut bytes);
                }
                Value::Message(fields) => {
                    key(2);
                    put(&fields.write(), &mut bytes);
                }
            }
        }
        bytes
    }

    /// Changes up to eight fields, as `how` says: which one, what is done to it, and with what.
    pub fn change(&mut self, mut how: &[u8]) {
        for _ in 0..8 {
            let Some(&[low, high, what, length]) = take(&mut how, 4).and_then(<[u8]>::first_chunk)
            else {
                return;
            };
            let length = usize::from(length).min(how.len());
            let with = take(&mut how, length).unwrap_or_default();
            let place = usize::from(u16::from_le_bytes([low, high])) % self.count().max(1);
            self.change_one(&mut { place }, what, with);
        }
    }

    /// Fields in this message and those within it.
    fn count(&self) -> usize {
        let within = |field: &Field| match &field.value {
            Value::Message(fields) => fields.count(),
            _ => 0,
        };
        self.0.iter().map(|field| 1 + within(field)).sum()
    }

    /// Changes the field at this place, counted as `count` does. `place` is less by those that were passed.
    fn change_one(&mut self, place: &mut usize, what: u8, with: &[u8]) -> bool {
        for index in 0..self.0.len() {
            if *place == 0 {
                self.change_here(index, what, with);
                return true;
            }
            *place -= 1;
            if let Value::Message(fields) = &mut self.0[index].value
                && fields.change_one(place, what, with)
            {
                return true;
            }
        }
        false
    }

    fn change_here(&mut self, index: usize, what: u8, with: &[u8]) {
        let field = &mut self.0[index];
        let mut eight = [0; 8];
        for (byte, with) in eight.iter_mut().zip(with) {
            *byte = *with;
        }
        match what % 8 {
            0 => drop(self.0.remove(index)),
            1 => {
                let again = vec![field.clone(); usize::from(eight[0])];
                self.0.splice(index..index, again);
            }
            2 => {
                let other = usize::from(eight[0]) % self.0.len();
                self.0.swap(index, other);
            }
            3 => field.number = u64::from(eight[0]) % 64 + 1,
            4 => field.value = Value::Bytes(with.to_vec()),
            5 => field.value = Value::Number(u64::from_le_bytes(eight)),
            _ => match &mut field.value {
                Value::Number(number) => *number = number.wrapping_add(i8_of(eight[0])),
                Value::Fixed(fixed) => *fixed = eight,
                Value::Bytes(content) => {
                    let at = usize::from(eight[0]) % (content.len() + 1);
                    content.splice(at..at, with.iter().copied());
                }
                Value::Message(fields) => fields.0.clear(),
            },
        }
    }
}

/// A small number, up or down.
fn i8_of(byte: u8) -> u64 {
    i64::from(i8::from_le_bytes([byte])).cast_unsigned()
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn put(content: &[u8], bytes: &mut Vec<u8>) {
    encode_varint(u64::try_from(content.len()).unwrap(), bytes);
    bytes.extend_from_slice(content);
}
