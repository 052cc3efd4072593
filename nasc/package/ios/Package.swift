// swift-tools-version: 5.9
// SPDX-License-Identifier: Apache-2.0
// A text encoder as a package for apps: add the folder to an app's project in Xcode.

import PackageDescription

let package = Package(
    name: "NascEncoder",
    platforms: [.iOS(.v15), .macOS(.v13)],
    products: [.library(name: "NascEncoder", targets: ["NascEncoder"])],
    dependencies: [
        .package(
            url: "https://github.com/microsoft/onnxruntime-swift-package-manager",
            exact: "1.24.2"
        ),
    ],
    targets: [
        .target(name: "NascTokenizer"),
        .target(
            name: "NascEncoder",
            dependencies: [
                "NascTokenizer",
                .product(name: "onnxruntime", package: "onnxruntime-swift-package-manager"),
            ],
            resources: [.copy("Resources")]
        ),
        .testTarget(name: "NascEncoderTests", dependencies: ["NascEncoder"]),
    ]
)
