from collections import Counter
from pathlib import Path

import pytest

from ser_core.lab.corpora import CorpusError, Utterance, parse_name, read


def make(folder: Path, *names: str) -> Path:
    """Empty files: readers judge names, decoders judge content."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_ravdess_name_is_parsed_whole():
    assert parse_name(Path("Actor_12/03-01-06-02-01-02-12.wav"), "ravdess") == {
        "modality": "audio only",
        "channel": "speech",
        "emotion": "fear",
        "intensity": "strong",
        "sentence": "01",
        "repetition": "02",
        "speaker": "12",
        "sex": "F",
    }


@pytest.mark.parametrize(
    ("name", "corpus", "emotion", "speaker", "sex", "intensity", "sentence"),
    [
        (
            "Actor_01/03-01-02-01-02-01-01.wav",
            "ravdess",
            "calm",
            "ravdess_01",
            "M",
            "normal",
            "02",
        ),
        ("AudioWAV/1001_IEO_FEA_HI.wav", "cremad", "fear", "cremad_1001", "", "high", "IEO"),
        ("AudioWAV/1040_ITH_SAD_X.wav", "cremad", "sad", "cremad_1040", "", "", "ITH"),
        ("OAF_angry/OAF_back_angry.wav", "tess", "angry", "tess_OAF", "F", "", "back"),
        ("YAF_youth_ps.wav", "tess", "surprise", "tess_YAF", "F", "", "youth"),
        ("OAF_neutral/OA_bite_neutral.wav", "tess", "neutral", "tess_OAF", "F", "", "bite"),
        ("AudioData/DC/sa03.wav", "savee", "sad", "savee_DC", "M", "", "sa03"),
        ("ALL/KL_su15.wav", "savee", "surprise", "savee_KL", "M", "", "su15"),
        ("wav/03a01Fa.wav", "emodb", "happy", "emodb_03", "M", "", "a01"),
        ("wav/16b10Lb.wav", "emodb", "boredom", "emodb_16", "F", "", "b10"),
        ("samples/KD0_surprised_88.wav", "nemo", "surprise", "nemo_KD0", "F", "", "88"),
    ],
)
@pytest.mark.parametrize("suffix", [".wav", ".opus", ".FLAC"])
def test_public_names_are_understood_without_saying_whose(
    tmp_path, name, corpus, emotion, speaker, sex, intensity, sentence, suffix
):
    path = tmp_path / Path(name).with_suffix(suffix)
    make(tmp_path, str(path))
    reading = read(tmp_path)
    assert reading.utterances == [
        Utterance(path, emotion, speaker, sex, corpus, "", intensity, sentence)
    ]
    assert reading.skipped == []
    assert read(tmp_path, corpus).utterances == reading.utterances


@pytest.mark.parametrize(
    ("letter", "emotion"),
    zip("WLEAFTN", ("angry", "boredom", "disgust", "fear", "happy", "sad", "neutral"), strict=True),
)
def test_emodb_letters_are_german_words(letter, emotion):
    assert parse_name(Path(f"wav/08a05{letter}a.wav"), "emodb")["emotion"] == emotion


def test_a_folder_of_several_corpora_is_read_whole(tmp_path):
    make(
        tmp_path,
        "a/Actor_02/03-01-05-01-01-01-02.wav",
        "b/03a01Wa.wav",
        "b/EB0_anger_1.wav",
        "readme.txt",
    )
    assert [u.corpus for u in read(tmp_path).utterances] == ["ravdess", "emodb", "nemo"]
    assert [u.speaker for u in read(tmp_path, "emodb").utterances] == ["emodb_03"]


def test_one_speakers_folder_is_enough_even_as_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(make(tmp_path, "AudioData/JK/d07.wav") / "AudioData" / "JK")
    assert [(u.speaker, u.emotion) for u in read(Path()).utterances] == [("savee_JK", "disgust")]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Actor_01/03-02-05-01-01-01-01.wav", "channel 02 is none that is read of RAVDESS"),
        ("Actor_01/01-01-05-01-01-01-01.mp4", "modality 01 is none that is read of RAVDESS"),
        ("Actor_01/03-01-09-01-01-01-01.wav", "emotion 09 is none that is read of RAVDESS"),
        ("Actor_25/03-01-05-01-01-01-25.wav", "speaker 25 is none of RAVDESS"),
        ("1001_IEO_BOR_HI.wav", "emotion BOR is none that is read of CREMA-D"),
        ("OAF_back_bored.wav", "emotion bored is none that is read of TESS"),
        ("03a01Xa.wav", "emotion X is none that is read of EmoDB"),
        ("99a01Wa.wav", "speaker 99 is none of EmoDB"),
        ("holiday.wav", "not a name of any known corpus"),
        ("03-01-05-01-01-01-01 (1).wav", "not a name of any known corpus"),
    ],
)
def test_unknown_names_are_skipped_and_counted_never_guessed(tmp_path, name, reason):
    make(tmp_path, name, "nemo/EB0_anger_1.wav")
    reading = read(tmp_path)
    assert [u.speaker for u in reading.utterances] == ["nemo_EB0"]
    assert reading.skipped == [(tmp_path / name, reason)]
    assert reading.skip_counts == {reason: 1}


def test_a_second_copy_of_a_recording_counts_once(tmp_path):
    make(
        tmp_path,
        "Actor_01/03-01-05-01-01-01-01.wav",
        "audio_speech_actors_01-24/Actor_01/03-01-05-01-01-01-01.wav",
        "audio_speech_actors_01-24/Actor_01/03-01-05-01-01-02-01.wav",
    )
    reading = read(tmp_path)
    assert len(reading.utterances) == 2
    assert list(reading.skip_counts) == ["a second copy of another file"]


def test_hidden_files_and_other_files_are_no_recordings(tmp_path):
    make(tmp_path, "wav/._03a01Fa.wav", "wav/03a01Fa.wav", "wav/03a01Fa.txt", "lab/x.laut")
    reading = read(tmp_path)
    assert [u.path.name for u in reading.utterances] == ["03a01Fa.wav"]
    assert reading.skipped == []


@pytest.mark.parametrize("source", [".", "AudioWAV"])
def test_cremads_own_table_tells_the_sex_of_its_actors(tmp_path, source):
    make(tmp_path, "AudioWAV/1001_DFA_ANG_XX.wav", "AudioWAV/1002_DFA_ANG_XX.wav")
    write(
        tmp_path / "VideoDemographics.csv",
        '"ActorID","Age","Sex","Race","Ethnicity"\n1001,51,"Male","",""\n1002,21,"Female","",""\n',
    )
    assert [u.sex for u in read(tmp_path / source).utterances] == ["M", "F"]


def test_another_table_by_the_name_of_cremads_is_an_error(tmp_path):
    make(tmp_path, "1001_DFA_ANG_XX.wav")
    write(tmp_path / "VideoDemographics.csv", "actor,gender\n1001,m\n")
    with pytest.raises(CorpusError, match="table of its actors"):
        read(tmp_path)


def test_a_folder_without_known_names_says_what_would_work(tmp_path):
    make(tmp_path, "one.wav", "two.wav")
    with pytest.raises(CorpusError, match="2 have another") as caught:
        read(tmp_path)
    for word in ("RAVDESS", "CREMA-D", "TESS", "SAVEE", "EmoDB", "nEMO", "path and label"):
        assert word in str(caught.value)


def test_a_folder_of_another_corpus_than_named_is_an_error(tmp_path):
    make(tmp_path, "03a01Fa.wav")
    with pytest.raises(CorpusError, match="TESS: OAF_angry/OAF_back_angry"):
        read(tmp_path, "tess")


def test_a_corpus_that_is_not_known_is_an_error_that_lists_those_that_are(tmp_path):
    with pytest.raises(CorpusError, match="ravdess, cremad, tess, savee, emodb, nemo"):
        read(tmp_path, "iemocap")


def test_what_is_not_there_is_an_error(tmp_path):
    with pytest.raises(CorpusError, match="no such file or folder"):
        read(tmp_path / "none")


# Manifests


def test_a_manifest_of_path_and_label_is_enough(tmp_path):
    make(tmp_path, "my voice.wav", "deep/other.opus")
    manifest = write(
        tmp_path / "mine.csv", "path,label\nmy voice.wav,Anger\ndeep/other.opus, calm\n"
    )
    assert read(manifest).utterances == [
        Utterance(tmp_path / "my voice.wav", "angry"),
        Utterance(tmp_path / "deep/other.opus", "calm"),
    ]


def test_every_column_is_read_whatever_its_order(tmp_path):
    make(tmp_path, "a.wav")
    write(
        tmp_path / "manifest.csv",
        "\ufeffSplit,duration,intensity,sentence,sex,corpus,speaker,label,path\r\n"
        "val,1.5,strong,s1,Female,Mine,anna,happiness,a.wav\r\n",
    )
    assert read(tmp_path).utterances == [
        Utterance(tmp_path / "a.wav", "happy", "anna", "F", "mine", "valid", "strong", "s1")
    ]


def test_absolute_paths_and_a_manifest_elsewhere_work(tmp_path):
    recording = make(tmp_path / "recordings", "a.wav") / "a.wav"
    (tmp_path / "lists").mkdir()
    for cell in (str(recording), "../recordings/a.wav"):
        manifest = write(tmp_path / "lists" / "mine.csv", f"path,label\n{cell},sad\n")
        assert read(manifest).utterances[0].path.samefile(recording)


def test_a_manifest_leaves_intensity_to_the_names_of_its_corpus(tmp_path):
    make(tmp_path, "03-01-05-02-01-01-01.wav")
    write(
        tmp_path / "manifest.csv",
        "path,label,corpus\n03-01-05-02-01-01-01.wav,angry,ravdess\n",
    )
    assert read(tmp_path).utterances[0].intensity == "strong"


def test_only_the_rows_of_a_corpus_on_request(tmp_path):
    make(tmp_path, "a.wav", "b.wav")
    manifest = write(tmp_path / "m.csv", "path,label,corpus\na.wav,sad,one\nb.wav,sad,two\n")
    assert [u.path.name for u in read(manifest, "two").utterances] == ["b.wav"]
    with pytest.raises(CorpusError, match="no row of corpus 'three'"):
        read(manifest, "three")


def test_rows_that_cannot_be_used_are_skipped_by_name_and_counted(tmp_path):
    make(tmp_path, "a.wav", "b.wav")
    manifest = write(
        tmp_path / "m.csv",
        "path,label\na.wav,sad\nb.wav,\ngone.wav,sad\n,sad\na.wav,happy\nb\0.wav,sad\n\n",
    )
    reading = read(manifest)
    assert [u.emotion for u in reading.utterances] == ["sad"]
    assert reading.skipped == [
        (tmp_path / "b.wav", "no label"),
        (tmp_path / "gone.wav", "no such file"),
        (Path(f"{manifest}, line 5"), "no path"),
        (tmp_path / "a.wav", "a file's second row"),
        (tmp_path / "b\0.wav", "no path, as it has a NUL"),
    ]


def test_a_file_is_one_however_its_path_is_spelt(tmp_path):
    make(tmp_path, "in/a.wav")
    (tmp_path / "link.wav").symlink_to(tmp_path / "in" / "a.wav")
    spelt = ["in/a.wav", "in/../in/a.wav", f"{tmp_path}/in/a.wav", "./in/a.wav", "link.wav"]
    rows = "".join(f"{path},sad\n" for path in spelt)
    reading = read(write(tmp_path / "m.csv", f"path,label\n{rows}"))
    assert [u.path for u in reading.utterances] == [tmp_path / "in" / "a.wav"]
    assert reading.skip_counts == {"a file's second row": 4}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "this one has nothing"),
        (b"path,label\n", "none there"),
        (b"path,label\ngone.wav,sad\nlost.wav,sad\n", "2 x no such file"),
        (b"file,emotion\na.wav,sad\n", "this one has file, emotion"),
        (b"path;label\na.wav;sad\n", "separated by commas"),
        (b"path,label,label\na.wav,sad,sad\n", "label is there twice"),
        (b"path,label,speeker\na.wav,sad,1\n", "rename it to speaker"),
        (b"path,label,Speaker_ID\na.wav,sad,1\n", "rename it to speaker"),
        (b"path,label\na.wav,sad,1\n", "line 2: more cells"),
        ("path,label\nähnlich.wav,sad\n".encode("latin-1"), "not a CSV file in UTF-8"),
        (b"RIFF\xff\xfe\x00\x00WAVE", "not a CSV file in UTF-8"),
        (b'path,label\n"' + b"a" * 200_000 + b'",sad\n', "not a CSV file"),
        (b'path,label\na.wav,sad\na.wav,"sad\na.wav,sad\n', "line 3: a quotation mark is not"),
        (b'path,label\r\n\r\n"a.wav,sad\r\na.wav,"sad"\r\n', "line 3: a quotation mark is not"),
        (b'path,label\na.wav,sad\na.wav,"sad', "line 3: a quotation mark is not"),
        (b'path,"label\na.wav,sad\n', "line 1: a quotation mark is not"),
    ],
)
def test_a_manifest_that_is_none_is_an_error_that_says_why(tmp_path, content, message):
    make(tmp_path, "a.wav")
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        read(tmp_path / "m.csv")


def test_quoted_cells_may_hold_commas_and_quotation_marks(tmp_path):
    make(tmp_path, 'well, "yes".wav', 'a"b.wav')
    manifest = write(tmp_path / "m.csv", 'path,"label"\r\n"well, ""yes"".wav","sad"\r\na"b.wav,sad')
    assert [u.path.name for u in read(manifest).utterances] == ['well, "yes".wav', 'a"b.wav']


def test_a_path_that_no_disk_could_hold_is_skipped_and_counted(tmp_path):
    make(tmp_path, "a.wav")
    manifest = write(tmp_path / "m.csv", f"path,label\n{'x' * 300}.wav,sad\na.wav,sad\n")
    reading = read(manifest)
    assert [u.path.name for u in reading.utterances] == ["a.wav"]
    assert reading.skip_counts == {"cannot be looked for: File name too long": 1}


def test_further_columns_are_named_in_a_warning(tmp_path, caplog):
    make(tmp_path, "a.wav")
    reading = read(write(tmp_path / "m.csv", "path,label,rater,mood\na.wav,sad,1,2\n"))
    assert len(reading.utterances) == 1
    assert "rater, mood" in caplog.text


# The real thing


@pytest.mark.parametrize("corpus", ["ravdess", "cremad", "tess", "emodb", "nemo"])
def test_names_of_real_recordings_agree_with_the_manifest(ser_data, corpus):
    listed = {u.path: u for u in read(ser_data / "manifest.csv", corpus).utterances}
    reading = read(ser_data / corpus)
    assert reading.skipped == []
    assert {u.path for u in reading.utterances} == set(listed)
    for named in reading.utterances:
        row = listed[named.path]
        assert (named.emotion, named.speaker, named.sentence, named.corpus) == (
            row.emotion,
            row.speaker,
            row.sentence,
            row.corpus,
        )
        assert named.sex == ("" if corpus == "cremad" else row.sex)


def test_the_real_manifest_is_read_whole(ser_data):
    reading = read(ser_data)
    assert reading.skipped == []
    assert Counter(u.split for u in reading.utterances) == {
        "train": 12_024,
        "valid": 1_065,
        "test": 1_601,
    }
    assert len({u.speaker for u in reading.utterances}) == 144


def test_real_recordings_of_no_known_names_are_counted(ser_data):
    with pytest.raises(CorpusError, match="1735 have another"):
        read(ser_data / "turev")
