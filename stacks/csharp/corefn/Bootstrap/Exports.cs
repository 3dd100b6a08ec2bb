using System;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;

namespace CoreFn.Bootstrap
{
    /// <summary>Finds the methods that an assembly exports.</summary>
    public static class Exports
    {
        const BindingFlags Own = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance
            | BindingFlags.Static | BindingFlags.DeclaredOnly;

        /// <summary>The exports by name, sorted as bytes are.</summary>
        /// <exception cref="Refused">A method can't be exported, or there is none.</exception>
        public static IDictionary<string, Export> Of(Assembly assembly)
        {
            var exports = new SortedDictionary<string, Export>(StringComparer.Ordinal);
            var wrong = new List<string>();
            foreach (var type in Types(assembly))
            {
                foreach (var method in type.GetMethods(Own).Where(IsMarked))
                {
                    var reason = Export.WhyNot(type, method);
                    var export = new Export(type, method);
                    if (reason == null && exports.ContainsKey(export.Name))
                    {
                        reason = "there is another of that name: rename one of them";
                    }
                    if (reason == null)
                    {
                        exports.Add(export.Name, export);
                    }
                    else
                    {
                        wrong.Add($"{type.FullName}.{method.Name} can't be exported: {reason}");
                    }
                }
            }
            if (wrong.Count > 0)
            {
                throw new Refused(string.Join("\nerror: ", wrong));
            }
            if (exports.Count == 0)
            {
                throw new Refused("no method carries [ExportedFunction]: write \"using CoreFn;\", and the attribute before "
                    + "each public method of a public class that can be called");
            }
            return exports;
        }

        static IEnumerable<Type> Types(Assembly assembly)
        {
            try
            {
                return assembly.GetTypes();
            }
            catch (ReflectionTypeLoadException failed)
            {
                var missing = failed.LoaderExceptions.Select(cause => cause.Message).Distinct();
                throw new Refused("an assembly that is needed isn't there: " + string.Join("; ", missing));
            }
        }

        // By its name, so that a repository may bring an attribute of its own.
        static bool IsMarked(MethodInfo method) =>
            method.GetCustomAttributesData().Any(data => data.AttributeType.FullName == typeof(ExportedFunctionAttribute).FullName);
    }
}
