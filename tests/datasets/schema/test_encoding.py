import pytest

from towerzoo.datasets import encode_column, encode_table


def test_ids_keep_the_order_of_rows():
    table = encode_table("film", {"film": [30, 10, 20], "genre": ["War", "Comedy", "Drama"]})
    assert table.ids.encode([10, 20, 30]).tolist() == [2, 3, 1]
    assert table.columns["film"].values.tolist() == [0, 1, 2, 3]
    genre = table.columns["genre"]
    row_of_10 = table.ids.encode([10])[0]
    assert genre.vocabulary.decode([int(genre.values[row_of_10])]) == ["Comedy"]


def test_row_zero_is_unknown():
    table = encode_table("film", {"film": ["a"], "genres": [["War", "Drama"]]}, {"title": ["Film A"]}, slots=3)
    assert table.columns["genres"].values.tolist() == [[0, 0, 0], [2, 1, 0]]
    assert table.texts["title"] == ("", "Film A")
    assert len(table) == 2


def test_missing_values_are_unknown():
    assert encode_column("year", [1994, None, 1990]).values.tolist() == [0, 2, 0, 1]


def test_lists_are_padded_to_the_longest():
    column = encode_column("genres", [["a"], ["a", "b", "c"]], slots=2)
    assert column.values.shape == (3, 3)
    assert column.is_list


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"film": [1, 1]}, "values must be distinct"),
        ({"film": [1, 2], "genre": ["War"]}, "features must be of equal length, got .*'film': 2, 'genre': 1"),
    ],
)
def test_bad_features_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        encode_table("film", features)
