from PIL import Image

from likeness_runtime.image.contact_sheet import SheetRow, sheet


def test_every_row_shows_input_before_and_after_from_left_to_right() -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    row = SheetRow("a photo of <x>", *(Image.new("RGB", (64, 64), colour) for colour in colours))
    one, two = sheet([row]), sheet([row, row])
    assert two.height > one.height
    found = [pixel for _, pixel in one.getcolors(1_000_000) or [] if pixel in colours]
    assert sorted(found) == sorted(colours)
    middle = one.height // 2
    order = [one.getpixel((x, middle)) for x in range(one.width)]
    assert [colour for colour in dict.fromkeys(order) if colour in colours] == colours
