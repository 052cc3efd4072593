// Runs the encoder of a package in C as an app would, and prints what it found: name, value.
//   FOLDER; without one, where there is no library
package nasc.encoder

import java.io.File
import java.util.concurrent.Callable
import java.util.concurrent.Executors

object NativeDriver {
    @JvmStatic
    fun main(arguments: Array<String>) {
        if (arguments.isEmpty()) return tell("no code") { NativeNetwork(1) }
        NativeLibrary.load()
        val folder = File(arguments[0])
        tell("none is open") { NativeLibrary.encode(LongArray(1), LongArray(1), 1, 1, FloatArray(64)) }
        val encoder = TextEncoder(CONTENTS, tokenizerOf(folder), NativeNetwork(1))
        tell("vectors") {
            val (off, allowed) = vectorsOff(folder, encoder)
            check(off <= allowed) { "vectors differ by $off, $allowed are allowed" }
            off
        }
        tell("same") {
            val (a, b) = encoder.embedBatch(listOf("the cat", "a cat!"))
            a.contentEquals(encoder.embed("the cat")) && encoder.similarity(a, b) < 1
        }
        tell("threads") { fromThreads(encoder) }
        tell("other threads") { NativeNetwork(2) }
        tell("second") { TextEncoder(CONTENTS, tokenizerOf(folder), NativeNetwork(1)).use { it.embed("a").size } }
        tell("first still") { encoder.embed("a").size }
        val many = CONTENTS.dimensions
        tell("too long") { encode(LongArray(9999), LongArray(9999) { 1 }, 1, 9999, many) }
        tell("no token") { encode(longArrayOf(1L shl 40), longArrayOf(1), 1, 1, many) }
        tell("short mask") { encode(LongArray(4), LongArray(3) { 1 }, 1, 4, many) }
        tell("short out") { encode(LongArray(4), LongArray(4) { 1 }, 1, 4, many - 1) }
        tell("too many") { encode(LongArray(4), LongArray(4) { 1 }, Int.MAX_VALUE, 4, many) }
        encoder.close()
        tell("closed") { encoder.embed("a") }
        tell("anew") { NativeNetwork(2).use { it.run(longArrayOf(2, 3), longArrayOf(1, 1), 1, 2).size } }
    }

    private fun encode(ids: LongArray, mask: LongArray, rows: Int, tokens: Int, size: Int): String =
        NativeLibrary.errorText(NativeLibrary.encode(ids, mask, rows, tokens, FloatArray(size)))

    private fun tell(name: String, what: () -> Any) {
        val value = try {
            what()
        } catch (error: Throwable) {
            error
        }
        println("$name\t$value")
    }

    private fun fromThreads(encoder: TextEncoder): Boolean {
        val texts = List(24) { "the cat ".repeat(it % 8 + 1) + "!" }
        val alone = texts.map { encoder.embed(it) }
        val pool = Executors.newFixedThreadPool(8)
        val together = pool.invokeAll(texts.map { Callable { encoder.embed(it) } }).map { it.get() }
        pool.shutdown()
        return alone.indices.all { alone[it].contentEquals(together[it]) }
    }
}
