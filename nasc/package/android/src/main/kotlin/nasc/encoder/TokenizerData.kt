// SPDX-License-Identifier: Apache-2.0
// Reads tokenizer.bin: header, checksum, and every offset and count in it. What comes of it is read
// without further checks. The format: docs/tokenizers.md of NASC.

package nasc.encoder

import java.util.zip.CRC32

internal object Model {
    const val WORDPIECE = 1
    const val UNIGRAM = 2
    const val BPE = 3
}

internal object Normalise {
    const val MAP = 1
    const val REORDER = 2
    const val COMPOSE = 3
    const val PRECOMPILED = 4
    const val STRIP = 5
    const val SPACES = 6
}

internal object Split {
    const val BERT = 1
    const val WHITESPACE = 2
    const val METASPACE = 3
    const val BYTE_LEVEL = 4
}

internal object Kind {
    const val SPACE = 1
    const val PUNCTUATION = 2
    const val WORD = 4
    const val PATTERN_SPACE = 8
    const val LETTER = 16
    const val NUMBER = 32
}

internal object Cut {
    const val LONGEST_FIRST = 0
    const val ONLY_FIRST = 1
    const val ONLY_SECOND = 2
}

/** A piece of a template. */
internal class Piece(val kind: Int, val token: Int, val type: Int) {
    companion object {
        const val TOKEN = 0
        const val TEXT = 1
        const val PAIR = 2
    }
}

internal class Step(val kind: Int, val argument: Int)

private const val HEADER = 24
private const val VERSION = 1
private const val CONFIG_WORDS = 46
private const val MAX_STEPS = 8
private const val MAX_MAPS = 4
private const val MAX_PIECES = 64
private const val MAX_WORD = 1000
private val MAGIC = byteArrayOf(0x4e, 0x41, 0x53, 0x43, 0x54, 0x4f, 0x4b, 0)
private val SECTIONS = listOf(
    "config", "map0", "map1", "map2", "map3", "classes", "chars", "breaks", "compositions",
    "charsmap", "charsmapPool", "vocabulary", "scores", "alphabet", "merges", "addedRaw",
    "addedNormal", "added", "single", "paired",
)

/** A whole file, read. */
internal class Tables(data: ByteArray) {
    val model: Int
    val maxLength: Int
    val strategy: Int
    val cutLeft: Boolean
    val unknown: Int
    val maxWord: Int
    val inner: Int
    val fuseUnknown: Boolean
    val unknownScore: Double
    val normalisers: List<Step>
    val splitters: List<Step>
    val maps: List<TextMap?>
    val classes: Pages
    val chars: Pages
    val breaks: Pages
    val compositions: Map<Long, Int>
    val charsmap: Trie
    val charsmapPool: ByteArray
    val vocabulary: Trie
    val scores: DoubleArray
    val alphabet: IntArray
    val merges: IntArray
    val addedRaw: Trie
    val addedNormal: Trie
    val added: IntArray
    val single: List<Piece>
    val paired: List<Piece>

    init {
        val parts = parts(data)
        fun part(name: String) = parts.getValue(name)
        val config = part("config")
        check(config.size == 4 * CONFIG_WORDS, "its settings have another size")
        val words = config.words()
        model = words[0]
        maxLength = words[1]
        strategy = words[2]
        cutLeft = words[3] != 0
        unknown = words[4]
        maxWord = words[5]
        inner = words[6]
        fuseUnknown = words[8] != 0
        unknownScore = config.double(4 * 43)
        check(model in Model.WORDPIECE..Model.BPE, "there is no such model")
        check(strategy in 0..Cut.ONLY_SECOND, "there is no such strategy")
        check(words[7] in 1..64 && maxWord in 0..MAX_WORD, "a setting is out of its range")
        check(maxLength >= 0, "a setting is out of its range")
        normalisers = steps(words, 9)
        splitters = steps(words, 26)
        maps = List(MAX_MAPS) { i -> part("map$i").takeIf { it.size > 0 }?.let(::TextMap) }
        classes = Pages(part("classes"))
        chars = Pages(part("chars"))
        breaks = Pages(part("breaks"))
        compositions = compositions(part("compositions"))
        charsmap = Trie(part("charsmap"))
        charsmapPool = part("charsmapPool").bytes(0)
        vocabulary = Trie(part("vocabulary"))
        scores = part("scores").doubles()
        alphabet = part("alphabet").words()
        merges = part("merges").words()
        addedRaw = Trie(part("addedRaw"))
        addedNormal = Trie(part("addedNormal"))
        added = part("added").words()
        single = template(part("single"), 0)
        paired = template(part("paired"), 1)
        addedRaw.checkValues(added.size / 2)
        addedNormal.checkValues(added.size / 2)
        checkCharsmap()
        checkSteps()
        checkModel()
    }

    private fun checkCharsmap() {
        charsmap.checkValues(charsmapPool.size)
        for (at in charsmap.values()) {
            val end = at + 1 + charsmapPool.at(at)
            check(
                end <= charsmapPool.size && isText(charsmapPool, at + 1, end),
                "a replacement is no text",
            )
        }
    }

    private fun checkSteps() {
        for (step in normalisers) {
            check(step.kind in Normalise.MAP..Normalise.SPACES, "there is no such normaliser")
            check(
                step.kind != Normalise.MAP || maps.getOrNull(step.argument) != null,
                "a map is missing",
            )
            val marks = step.kind == Normalise.REORDER || step.kind == Normalise.COMPOSE
            check(!marks || classes.present, "the classes of marks are missing")
            check(
                step.kind != Normalise.PRECOMPILED || breaks.present && charsmap.nodes > 0,
                "the table of replacements is missing",
            )
        }
        for (step in splitters) {
            check(step.kind in Split.BERT..Split.BYTE_LEVEL, "there is no such splitter")
            check(
                step.kind != Split.METASPACE || step.argument and 0x1fffff <= 0x10ffff,
                "a mark is no character",
            )
        }
        check(splitters.isEmpty() || chars.present, "the kinds of characters are missing")
    }

    private fun checkModel() {
        if (model == Model.BPE) {
            val slots = merges.size / 4
            check(alphabet.size == 256, "the alphabet has another size")
            check(slots > 0 && slots and slots - 1 == 0, "the merges have another size")
            val free = (2 until merges.size step 4).any { merges[it] == NONE }
            check(free, "the merges have no free place") // so that every search ends
            return
        }
        check(vocabulary.nodes > 0, "the vocabulary is missing")
        if (model == Model.UNIGRAM) {
            vocabulary.checkValues(scores.size)
        } else {
            check(inner == NONE || inner in 0 until vocabulary.nodes, "the inner node is none")
        }
    }

    companion object {
        private fun parts(data: ByteArray): Map<String, Part> {
            val all = Part(data, 0, data.size)
            val head = HEADER + 8 * SECTIONS.size
            check(
                data.size >= HEADER && MAGIC.indices.all { data[it] == MAGIC[it] },
                "it is another file",
            )
            val (version, size, sum, count) = all.words(8, 4)
            if (version != VERSION) {
                throw TokenizerException(
                    TokenizerException.Code.VERSION,
                    "tokenizer.bin is of version $version, not $VERSION",
                )
            }
            check(data.size >= head && size == data.size && count == SECTIONS.size, "it is cut")
            val crc = CRC32().apply { update(data, 20, data.size - 20) }
            check(sum == crc.value.toInt(), "its checksum differs")
            val directory = all.words(HEADER, 2 * SECTIONS.size)
            var end = head
            val parts = SECTIONS.withIndex().associate { (i, name) ->
                val offset = directory[2 * i]
                val length = directory[2 * i + 1]
                check(offset == end && length in 0..data.size - end, "its directory is wrong")
                end += length
                name to Part(data, offset, end)
            }
            check(end == data.size, "there is more than its sections")
            return parts
        }

        private fun steps(words: IntArray, at: Int): List<Step> {
            check(words[at] in 0..MAX_STEPS, "there are too many steps")
            return List(words[at]) { Step(words[at + 1 + 2 * it], words[at + 2 + 2 * it]) }
        }

        private fun compositions(part: Part): Map<Long, Int> {
            check(part.size % 12 == 0, "the compositions have another size")
            val words = part.words()
            val found = HashMap<Long, Int>()
            for (i in words.indices step 3) {
                check(words[i + 2] in 0..0x10ffff, "a composition is no code point")
                found[pairOf(words[i], words[i + 1])] = words[i + 2]
            }
            return found
        }

        private fun template(part: Part, pairs: Int): List<Piece> {
            val words = part.words()
            check(words.isNotEmpty() && part.size % 12 == 0, "a template has another size")
            check(words.size <= 3 * MAX_PIECES, "a template is too long")
            val pieces =
                List(words.size / 3) { Piece(words[3 * it], words[3 * it + 1], words[3 * it + 2]) }
            check(
                pieces.all { it.kind in Piece.TOKEN..Piece.PAIR } &&
                    pieces.count { it.kind == Piece.TEXT } == 1 &&
                    pieces.count { it.kind == Piece.PAIR } == pairs,
                "a template is none",
            )
            return pieces
        }
    }
}

/** The key of a pair of code points. */
internal fun pairOf(first: Int, second: Int): Long = (first.toLong() shl 32) or second.toLong()
