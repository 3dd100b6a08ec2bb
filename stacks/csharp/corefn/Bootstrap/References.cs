using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Xml;
using System.Xml.Linq;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;

namespace CoreFn.Bootstrap
{
    /// <summary>Reads what a project asks for, and tells of what isn't here.</summary>
    public static class References
    {
        static readonly string[] Known = { "CoreFn", "Newtonsoft.Json", "Microsoft.CSharp", "Microsoft.NETCore", "NETStandard", "System" };

        /// <summary>Prints a line for each reference that neither the stack nor the folder has.</summary>
        /// <exception cref="Refused">A project's file can't be read.</exception>
        public static void Tell(string folder, TextWriter to)
        {
            var files = Directory.GetFiles(folder, "*.csproj").Concat(Directory.GetFiles(folder, "project.json"));
            foreach (var file in files.OrderBy(file => file, StringComparer.Ordinal))
            {
                var name = Path.GetFileName(file);
                foreach (var reference in Read(file).Where(reference => !IsKnown(reference)).Distinct())
                {
                    if (Directory.GetFiles(folder, reference + ".dll", SearchOption.AllDirectories).Length == 0)
                    {
                        to.WriteLine($"{name} asks for {reference}, which this stack hasn't: if it is used, put {reference}.dll "
                            + "beside the sources");
                    }
                }
            }
        }

        static IEnumerable<string> Read(string file)
        {
            try
            {
                return file.EndsWith(".json") ? OfJson(JObject.Parse(File.ReadAllText(file))) : OfXml(XDocument.Load(file));
            }
            catch (Exception wrong) when (wrong is JsonException || wrong is XmlException)
            {
                throw new Refused($"{Path.GetFileName(file)} can't be read: {wrong.Message}");
            }
        }

        static IEnumerable<string> OfJson(JObject project)
        {
            var frameworks = (project["frameworks"] as JObject)?.PropertyValues() ?? Enumerable.Empty<JToken>();
            return new JToken[] { project }.Concat(frameworks)
                .OfType<JObject>()
                .Select(part => part["dependencies"])
                .OfType<JObject>()
                .SelectMany(dependencies => dependencies.Properties())
                .Select(dependency => dependency.Name)
                .ToList();
        }

        static IEnumerable<string> OfXml(XDocument project) =>
            project.Descendants()
                .Where(element => element.Name.LocalName == "PackageReference" || element.Name.LocalName == "Reference")
                .Select(element => (string)element.Attribute("Include"))
                .Where(include => !string.IsNullOrEmpty(include))
                .Select(include => include.Split(',')[0].Trim())
                .ToList();

        static bool IsKnown(string reference) =>
            Known.Any(known => reference == known || reference.StartsWith(known + ".", StringComparison.Ordinal));
    }
}
