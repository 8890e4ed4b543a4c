//! Certificates of authorities that are no Fulcio, over time.

use std::time::{Duration, SystemTime};

use assay_integration::Image;
use assay_integration::cosign::{Series, Sign, Verify};

use crate::lab::{Lab, verdict};

/// CVE-2026-24122: cosign took signatures under an intermediate that had expired.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_between_that_has_expired_vouches_for_nothing() {
    let lab = Lab::start().await;
    let plain = Sign::certified(&lab.trusted.lapsing);
    let mut pulls = vec![];
    for (name, series) in [("two", Series::Two), ("three", Series::Three)] {
        let image = Image::tiny(name).unwrap();
        let repository = format!("lapsing/{name}");
        image.store(lab.registry.content(), &repository, "v1");
        let reference = format!("{}@{}", lab.registry.repository(&repository), image.digest());
        lab.cosign(series).sign(&reference, &plain).await.unwrap();
        pulls.push((
            series,
            reference,
            format!("{}:v1", lab.registry.repository(&repository)),
        ));
    }
    for (series, reference, tag) in &pulls {
        let said = lab
            .cosign(*series)
            .verify(reference, &Verify::of(&plain))
            .await
            .unwrap();
        said.successful().unwrap();
        let (verdict, event) = verdict(&lab.containerd.pull_cri(tag).await);
        assert_eq!(verdict, "ADMIT", "{event}");
        lab.containerd.remove(tag).await.unwrap();
    }
    let left = lab.trusted.lapses_at.duration_since(SystemTime::now());
    // Validity is in whole seconds.
    tokio::time::sleep(left.unwrap_or_default() + Duration::from_secs(1)).await;
    for (series, reference, tag) in &pulls {
        let said = lab
            .cosign(*series)
            .verify(reference, &Verify::of(&plain))
            .await
            .unwrap();
        // 2.5.0 accepts it and 3.1.1 does not; Debian may mend the older one.
        println!("{series:?} accepts it: {}", said.success);
        let (verdict, event) = verdict(&lab.containerd.pull_cri(tag).await);
        assert_eq!(verdict, "DENY certificate-expired", "{event}");
    }
}
