// Runs the tokenizer in Kotlin for tests, as driver.c does the one in C:
//   encode FILE < REQUESTS   texts, as port.py packs them
//   damage FILE SEED COUNT   opens the file with bytes changed, sum renewed
//   long FILE BYTES          texts of one character again and again
package nasc.encoder

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.zip.CRC32
import kotlin.random.Random

private val ERRORS = mapOf(
    TokenizerException.Code.DAMAGED to -1L,
    TokenizerException.Code.NOT_TEXT to -4L,
    TokenizerException.Code.NO_ROOM to -7L,
    TokenizerException.Code.NO_PAIR to -8L,
)

object TokenizerDriver {
    @JvmStatic
    fun main(arguments: Array<String>) {
        val data = File(arguments[1]).readBytes()
        when (arguments[0]) {
            "encode" -> encodeAll(Tokenizer(data))
            "damage" -> damage(data, arguments[2].toInt(), arguments[3].toInt())
            else -> long(Tokenizer(data), arguments[2].toInt())
        }
    }

    private fun encodeAll(tokenizer: Tokenizer) {
        val input = ByteBuffer.wrap(System.`in`.readBytes()).order(ByteOrder.LITTLE_ENDIAN)
        val found = ArrayList<Long>()
        fun text(bytes: Int) = ByteArray(bytes).also { input.get(it) }.decodeToString()
        while (input.hasRemaining()) {
            val (size, other, longest) = List(4) { input.getInt() }
            val first = text(size)
            val second = if (other < 0) null else text(other)
            try {
                val tokens = tokenizer.encode(first, second, longest)
                found.add(tokens.ids.size.toLong())
                tokens.ids.forEach { found.add(it.toLong()) }
                tokens.typeIds.forEach { found.add(it.toLong()) }
            } catch (error: TokenizerException) {
                found.add(ERRORS.getValue(error.code))
            }
        }
        val out = ByteBuffer.allocate(8 * found.size).order(ByteOrder.LITTLE_ENDIAN)
        found.forEach { out.putLong(it) }
        System.out.write(out.array())
        System.out.flush()
    }

    private fun damage(data: ByteArray, seed: Int, count: Int) {
        val random = Random(seed)
        var opened = 0
        repeat(count) {
            val copy = data.copyOf()
            repeat(1 + random.nextInt(4)) {
                val below = if (random.nextBoolean()) 400 else copy.size - 20
                copy[20 + random.nextInt(below)] = random.nextInt(256).toByte()
            }
            val sum = CRC32().apply { update(copy, 20, copy.size - 20) }.value.toInt()
            ByteBuffer.wrap(copy).order(ByteOrder.LITTLE_ENDIAN).putInt(16, sum)
            try {
                val tokenizer = Tokenizer(copy)
                opened++
                val text = "a [MASK] \u00e9e\u0301 'll \u4e2d \ud83d\udc69\u200d\ud83d\udc67 end"
                tokenizer.encode(text, "b".repeat(40))
            } catch (_: TokenizerException) {
                // what is wrong has been told
            }
        }
        println(opened)
    }

    private fun long(tokenizer: Tokenizer, bytes: Int) {
        for (char in listOf("a", " ", "é", "\u0301", "中", "!", "👩", "\u0000", "[", "'")) {
            println(tokenizer.encode(char.repeat(bytes / char.encodeToByteArray().size)).ids.size)
        }
    }
}
