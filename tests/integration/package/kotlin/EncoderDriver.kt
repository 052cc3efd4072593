// Runs the encoder of a package as an app would, and writes what it found to a file: name, value.
//   FOLDER FOUND FILES
package nasc.encoder

import ai.onnxruntime.OrtEnvironment
import android.content.Context
import java.io.File
import java.io.IOException
import java.util.concurrent.Callable
import java.util.concurrent.CountDownLatch
import java.util.concurrent.Executors
import java.util.concurrent.TimeUnit

object EncoderDriver {
    private val found = StringBuilder()

    @JvmStatic
    fun main(arguments: Array<String>) {
        val (folder, out, files) = arguments.map(::File)
        System.setProperty("nasc.module", folder.path)
        val assets = File(folder, "src/main/assets")
        try {
            tell("mapped") { used(NascEncoder.create(Context(assets, false, files))) }
            tell("copies before") { copies(files) }
            File(files, "nasc-encoder").mkdirs()
            File(files, "nasc-encoder/older.onnx").writeText("of another release of the app")
            tell("copied") { used(NascEncoder.create(Context(assets, true, files))) }
            tell("copies") { copies(files) }
            tell("again") { used(NascEncoder.create(Context(assets, true, files))) }
            refused(assets, files)
            tell("golden tokens") { GoldenTest().tokensAreThoseOfHuggingFace() }
            tell("golden vectors") { GoldenTest().vectorsAreThoseOfPython() }
            val encoder = NascEncoder.create(Context(assets, false, files))
            tell("threads") { fromThreads(encoder) }
            tell("surrogate") { encoder.embed("a\ud83d") }
            tell("sizes") { encoder.similarity(FloatArray(2), FloatArray(3)) }
            tell("closing") { whileItRuns(encoder) }
            tell("closed") { encoder.embed("a") }
            encoder.close()
            tell("no threads") { NascEncoder.create(Context(assets, false, files), 0) }
            tell("left open") { OrtEnvironment.left() }
        } finally {
            out.writeText(found.toString())
        }
    }

    private fun tell(name: String, what: () -> Any) {
        val value = try {
            what()
        } catch (error: Throwable) {
            error
        }
        found.append("$name\t$value\n")
    }

    private fun used(encoder: NascEncoder): String = encoder.use {
        val (a, b) = it.embedBatch(listOf("the cat", "a cat!"))
        val same = a.contentEquals(it.embed("the cat"))
        "${it.dimensions} $same ${it.similarity(a, a)} ${it.similarity(a, b) < 1} ${it.tokenize("").size}"
    }

    private fun copies(files: File): List<String> =
        File(files, "nasc-encoder").list().orEmpty().sorted()

    /** Another model than the package's, as it is and compressed. */
    private fun refused(assets: File, files: File) {
        val other = File(files, "other").also { assets.copyRecursively(it) }
        val model = File(other, "nasc/${CONTENTS.model.name}")
        val bytes = model.readBytes()
        bytes[bytes.size / 2] = (bytes[bytes.size / 2] + 1).toByte()
        model.writeBytes(bytes)
        val empty = File(files, "empty")
        tell("another") { NascEncoder.create(Context(other, true, empty)) }
        tell("left behind") { copies(empty) }
        model.appendText("more")
        tell("longer") { NascEncoder.create(Context(other, false, empty)) }
    }

    private fun fromThreads(encoder: NascEncoder): Boolean {
        val texts = List(24) { "the cat ".repeat(it % 8 + 1) + "!" }
        val alone = texts.map { encoder.embed(it) }
        val pool = Executors.newFixedThreadPool(8)
        val together = pool.invokeAll(texts.map { Callable { encoder.embed(it) } }).map { it.get() }
        pool.shutdown()
        return alone.indices.all { alone[it].contentEquals(together[it]) }
    }

    /** [TextEncoder.close] waits for a call that runs, and the network is closed after it. */
    private fun whileItRuns(encoder: NascEncoder): Boolean {
        val begun = CountDownLatch(1)
        val pool = Executors.newFixedThreadPool(2)
        val vectors = pool.submit(
            Callable {
                val first = encoder.embed("the cat")
                begun.countDown()
                try {
                    while (true) check(encoder.embed("the cat").contentEquals(first))
                } catch (error: IllegalStateException) {
                    error.message
                }
            },
        )
        begun.await(60, TimeUnit.SECONDS)
        encoder.close()
        pool.shutdown()
        return vectors.get(60, TimeUnit.SECONDS) == "the encoder is closed: create another one"
    }

    @Throws(IOException::class)
    private fun check(holds: Boolean) {
        if (!holds) throw IOException("other vectors")
    }
}
