use std::net::SocketAddr;

use super::*;
use crate::ids::WorkerId;
use crate::time::Time;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Sample {
    number: u32,
    list: Vec<(WorkerId, Option<Time>)>,
    address: SocketAddr,
    light: Light,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Light {
    Red,
    Green,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Metres(u16);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Nothing,
    Line(Metres, u8),
    Box { wide: Metres, is_full: bool },
}

packed!(Sample { number, list, address, light });
packed!(Light as Red = 0, Green = 7);
packed!(Metres(u16));
packed!(Shape as Nothing = 0, Line(long, thick) = 1, Box { wide, is_full } = 4);

#[test]
fn variants_come_back_with_their_fields_by_codes_of_their_own() {
    let shapes = [Shape::Nothing, Shape::Line(Metres(7), 1), Shape::Box { wide: Metres(2), is_full: true }];
    for (shape, bytes) in shapes.into_iter().zip([&[0][..], &[1, 7, 0, 1], &[4, 2, 0, 1]]) {
        let mut packed = Vec::new();
        shape.pack(&mut packed);
        assert_eq!((&packed[..], Shape::unpack(&mut Packed::new(bytes))), (bytes, Ok(shape)));
    }
    let mut layout = String::new();
    Shape::layout(&mut layout);
    assert_eq!(layout, "Shape|Nothing=0|Line=1:Metres=u16:u8|Box=4:wide:Metres=u16:is_full:bool=u8");
}

fn sample() -> Sample {
    Sample {
        number: 7,
        list: vec![(WorkerId(3), None), (WorkerId(4), Some(Time(5)))],
        address: "[fe80::1%3]:5060".parse().unwrap(),
        light: Light::Green,
    }
}

fn bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    sample().pack(&mut bytes);
    "192.0.2.1:5070".parse::<SocketAddr>().unwrap().pack(&mut bytes);
    bytes
}

#[test]
fn a_packed_value_unpacks_as_the_same() {
    let bytes = bytes();
    let mut from = Packed::new(&bytes);
    assert_eq!(Sample::unpack(&mut from), Ok(sample()));
    assert_eq!(SocketAddr::unpack(&mut from), Ok("192.0.2.1:5070".parse().unwrap()));
    assert!(from.is_empty());
}

#[test]
fn bytes_that_are_cut_anywhere_are_damaged_and_nothing_else() {
    let bytes = bytes();
    for end in 0..bytes.len() - 7 {
        assert!(Sample::unpack(&mut Packed::new(&bytes[..end])).is_err(), "{end}");
    }
    let endless = [0xff; 12];
    assert!(<Vec<u8>>::unpack(&mut Packed::new(&endless)).is_err());
    assert_eq!(Light::unpack(&mut Packed::new(&[1])), Err(Damaged("Light")));
}

#[test]
fn a_layout_names_every_field_and_its_type() {
    let mut layout = String::new();
    Sample::layout(&mut layout);
    assert_eq!(layout, "Sample{number:u32,list:*WorkerId=u16&?Time=u64,address:address,light:Light|Red=0|Green=7,}");
    assert_ne!(fingerprint(&layout), fingerprint(&layout.replace("u32", "u64")));
}
