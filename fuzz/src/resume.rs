//! Resume files: whatever is on the disk, only pieces that exist are taken as durable, and what is
//! saved is loaded.

use shoal::peer::storage::resume::Resume;

pub fn check(data: &[u8]) {
    let Ok(resume) = serde_json::from_slice::<Resume>(data) else { return };
    let saved = serde_json::to_vec(&resume).unwrap();
    assert_eq!(serde_json::from_slice::<Resume>(&saved).unwrap(), resume);
    let mut matches = 0;
    for n_parts in 0..200 {
        let Some(vouched) = resume.pieces(n_parts) else { continue };
        matches += 1;
        assert_eq!(vouched.len(), n_parts);
        assert!(vouched.count() <= n_parts);
        assert!(vouched.iter().all(|piece| piece < n_parts));
        assert_eq!(vouched.iter().count(), vouched.count() as usize);
        let again = Resume::new(&resume.dir, &vouched, resume.files.clone(), resume.paused)
            .troubled(resume.trouble.clone());
        assert_eq!(again, resume, "a set of pieces has one spelling");
    }
    assert!(matches <= 1, "a file is of one number of pieces");
}
