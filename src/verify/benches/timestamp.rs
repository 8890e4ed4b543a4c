//! The verification of one timestamp token, alone: the token is decoded, its signature and a chain of three certificates
//! are verified. The names are `timestamp/ENCODING`; all keys are P-256.

#[path = "../tests/notation/support.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod support;
#[path = "../tests/timestamps/token.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod token;

use std::hint::black_box;

use assay_verify::timestamp::verify;
use criterion::{Criterion, criterion_group, criterion_main};

use token::{MESSAGE, Token, certificate, parts, to_ber};

fn verifications(criterion: &mut Criterion) {
    let chain = parts().build();
    let der = Token::new(&chain).build();
    let ber = to_ber(&der);
    let anchors = [certificate(chain.last().unwrap())];
    for (name, token) in [("timestamp/DER", der), ("timestamp/BER", ber)] {
        verify(&token, MESSAGE, &anchors).unwrap();
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| verify(black_box(&token), MESSAGE, &anchors));
        });
    }
}

criterion_group!(benches, verifications);
criterion_main!(benches);
