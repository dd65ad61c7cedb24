//! The law of the layout: what was written is read, bit for bit, wherever the body is; and nothing else is believed.

use super::*;
use proptest::prelude::*;

fn values(count: usize) -> impl Strategy<Value = Values> {
    macro_rules! of {
        ($variant:ident, $each:expr) => {
            prop::collection::vec($each, count).prop_map(Values::$variant).boxed()
        };
    }
    let json = prop_oneof![
        Just(serde_json::Value::Null),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
        Just(serde_json::json!({"a": [1.5, null]})),
    ];
    prop_oneof![
        of!(Bool, any::<bool>()),
        of!(Uint8, any::<u8>()),
        of!(Uint16, any::<u16>()),
        of!(Uint32, any::<u32>()),
        of!(Uint64, any::<u64>()),
        of!(Int8, any::<i8>()),
        of!(Int16, any::<i16>()),
        of!(Int32, any::<i32>()),
        of!(Int64, any::<i64>()),
        of!(Fp32, prop::num::f32::ANY),
        of!(Fp64, prop::num::f64::ANY),
        of!(Bytes, prop::collection::vec(any::<u8>(), 0..9)),
        of!(Text, any::<Option<String>>()),
        of!(Json, json),
    ]
}

fn tensor() -> impl Strategy<Value = Tensor> {
    (0_usize..40, 1_usize..4, any::<String>()).prop_flat_map(|(rows, width, name)| {
        values(rows * width)
            .prop_map(move |values| Tensor::new(name.clone(), vec![rows, width], values).unwrap())
    })
}

/// Equal bit for bit: NaN is NaN, and of the same bits.
fn bits(tensor: &Tensor) -> String {
    match tensor.values() {
        Values::Fp32(list) => format!("{:?}", list.iter().map(|v| v.to_bits()).collect::<Vec<_>>()),
        Values::Fp64(list) => format!("{:?}", list.iter().map(|v| v.to_bits()).collect::<Vec<_>>()),
        others => format!("{others:?}"),
    }
}

fn through(tensors: &[Tensor], apart_above: u64) -> (Vec<Place>, Body) {
    let laid = lay_out(tensors).unwrap();
    let mut writer = Writer::new(laid.length, apart_above).unwrap();
    laid.write(&mut writer).unwrap();
    let body = writer.finish();
    assert_eq!(body.len(), laid.length);
    (laid.places, body)
}

proptest! {
    #[test]
    fn what_was_written_is_read_bit_for_bit_wherever_the_body_is(
        tensors in prop::collection::vec(tensor(), 0..5),
    ) {
        for apart_above in [u64::MAX, 0] {
            let (places, body) = through(&tensors, apart_above);
            let found: Vec<Tensor> = places.into_iter().map(|p| read(p, &body).unwrap()).collect();
            prop_assert_eq!(found.len(), tensors.len());
            for (found, tensor) in found.iter().zip(&tensors) {
                prop_assert_eq!((found.name(), found.shape()), (tensor.name(), tensor.shape()));
                prop_assert_eq!(bits(found), bits(tensor));
            }
        }
    }

    #[test]
    fn any_place_in_any_body_is_read_or_refused(
        kind in 0_usize..14,
        shape in prop::collection::vec(prop_oneof![0_usize..9, any::<usize>()], 0..4),
        at in prop_oneof![0_u64..90, any::<u64>()],
        len in prop_oneof![0_u64..90, any::<u64>()],
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        use Kind::{Bool, Bytes, Fp32, Fp64, Int8, Int16, Int32, Int64, Json, Text, Uint8, Uint16, Uint32, Uint64};
        let kinds =
            [Bool, Uint8, Uint16, Uint32, Uint64, Int8, Int16, Int32, Int64, Fp32, Fp64, Bytes, Text, Json];
        let place = Place { name: "x".to_owned(), kind: kinds[kind], shape, at, len };
        let body = Body::Inline(body.into());
        if let Ok(tensor) = read(place.clone(), &body) {
            prop_assert!(tensor.values().len() as u64 <= body.len());
            prop_assert_eq!(tensor.shape(), place.shape);
        }
    }
}

#[test]
fn large_tensors_are_written_in_pieces() {
    let numbers: Vec<f64> = (0..100_000).map(f64::from).collect();
    let texts = (0..50_000).map(|n| (n % 7 != 0).then(|| format!("é{n}"))).collect();
    let tensors = [Tensor::column("a", Values::Fp64(numbers)), Tensor::column("b", Values::Text(texts))];
    for apart_above in [u64::MAX, 65_536] {
        let (places, body) = through(&tensors, apart_above);
        let found: Vec<Tensor> = places.into_iter().map(|p| read(p, &body).unwrap()).collect();
        assert_eq!(found, tensors);
    }
}
