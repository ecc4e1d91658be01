"""Texts that classes bring along, of every kind that was thought of."""

import inspect
import textwrap
from pathlib import Path

from glassformer.course.classroom import STORY
from glassformer.training.storyland import documents

GUIDE = Path(__file__).parents[2] / "docs" / "guide"


def pages(n_characters: int) -> str:
    """So much prose."""
    guide = "\n".join(page.read_text(encoding="utf-8") for page in sorted(GUIDE.glob("*.md")))
    return (guide * (1 + n_characters // len(guide)))[:n_characters]


def stories(n_characters: int) -> str:
    """So many little stories, one to a line."""
    lines = (document.text for document in documents("a class", n_characters // 20))
    return "\n".join(lines)[:n_characters]


TEXTS = {
    "odd signs": "Bella the cow eats grass all day -- she's never full! The pig rolls in the mud."
    " Who is loud? The cow and the pig sleep in the barn. They're good friends... Bella likes the"
    " grass.\n",
    "a class of twelve-year-olds": "Zoe has a robot named Beep. Beep sweeps the kitchen every"
    " night. One day Beep ate a sock under the bed. Zoe looked for the sock under the table. Mom"
    " found the sock in the robot's belly. Now Beep sweeps the kitchen and eats no socks!\n",
    "German": "Die Kühe stehen auf der Wiese. Der Bär frisst süße Äpfel. Die Kühe und der Bär"
    " schlafen am Fluß. Sie wurden Freunde. Die Kühe mögen die Wiese. Der Bär mag die Äpfel.\n",
    "Japanese": "猫は窓のそばで眠る。犬は庭で走る。猫と犬は一緒に遊ぶ。二匹は友達になった。"
    "猫は窓が好きだ。犬は庭が好きだ。\n",
    "Chinese": "小猫坐在垫子上。小狗在公园里跑。小鸟在树上唱歌。小猫喜欢垫子。小狗喜欢公园。"
    "小鸟喜欢大树。\n",
    "Arabic": "جَلَسَ الْقِطُّ عَلَى الْبِسَاطِ. رَكَضَ الْكَلْبُ فِي الْحَدِيقَةِ. غَنَّى"
    " الطَّائِرُ عَلَى الشَّجَرَةِ. أَحَبَّ الْقِطُّ الْبِسَاطَ."
    " أَحَبَّ الْكَلْبُ الْحَدِيقَةَ. أَحَبَّ الطَّائِرُ الشَّجَرَةَ.\n",
    "emoji": "I have a 🐱 and a 🐶. My 🐱 eats 🐟 in the kitchen. My 🐶 runs in the park. We all"
    " like 🍎 and 🍌. The 🌞 is warm in June. At night the 🌙 shines 👨‍👩‍👧 🇫🇷.\n",
    "one line without an end": "The boy kicks the ball. The girl reads the book. The cook bakes the"
    " bread. The boy likes the ball. The girl likes the book. The cook likes the bread. The baker"
    " closes the window",
    "lines of another system": STORY.replace(". ", ".\r\n"),
    "a poem": textwrap.dedent("""\
        The owl sat up in the old oak tree,
        and sang a song to the moon and me.

        The moon came down to the edge of the sea,
        and sang the song to the owl in the tree.

        The sea rolled in to the edge of the land,
        and wrote the song in the silver sand.
        """),
    "a little program": textwrap.dedent("""\
        def add(a, b):
            return a + b

        def double(a):
            return add(a, a)

        for number in range(3):
            print(double(number))
        """),
    "a program": inspect.getsource(textwrap),
    "40 KB": stories(40_000),
    "1 MB": pages(1_000_000),
}
